//! `coil network`: networks that containers share, where they find each other by name.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use coil_engine::Engine;
use coil_engine::networks::{CreateNetwork, NetworkRecord, NetworkWish, NetworksError, hardware};
use coil_engine::prune::has_label;
use serde_json::{Value, json};

use crate::environment_flags as flags;
use crate::output;
use crate::prune_flags::{PruneFlags, labels_in_words, show_removed};
use crate::report::Failure;
use crate::settings::Settings;
use crate::table::short_id;
use crate::template::{Columns, Format, Row};

const COLUMNS: Columns<'static> = Columns {
    of: "*network.networkContext",
    shown: &[
        ("NETWORK ID", "ID"),
        ("NAME", "Name"),
        ("DRIVER", "Driver"),
        ("SCOPE", "Scope"),
    ],
    more: &[
        ("IPV4", "IPv4"),
        ("IPV6", "IPv6"),
        ("INTERNAL", "Internal"),
        ("LABELS", "Labels"),
        ("CREATED AT", "CreatedAt"),
    ],
};

/// Arguments of `coil network`.
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub struct Network {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a network
    Create(Box<Create>),
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Show all that is known of networks
    Inspect(Inspect),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Rm),
    /// Remove every network that no container is in
    Prune(Prune),
    /// Put a container into a network
    Connect(Connect),
    /// Take a container out of a network
    Disconnect(Disconnect),
}

#[derive(Debug, Args)]
struct Create {
    /// The driver: bridge
    #[arg(short, long, default_value = "bridge", value_name = "DRIVER")]
    driver: String,
    /// Its addresses, such as 10.9.0.0/24; one of IPv4, one of IPv6
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    subnet: Vec<String>,
    /// The bridge's own address in the subnet
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway: Vec<String>,
    /// The part of the subnet that containers' addresses are taken from
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    ip_range: Vec<String>,
    /// Give containers IPv6 addresses too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Let nothing out of the network
    #[arg(long)]
    internal: bool,
    /// Taken for Docker's sake: every container may join by hand
    #[arg(long)]
    attachable: bool,
    /// Set a label
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Set an option of the driver
    #[arg(short, long = "opt", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// Addresses of the subnet that are no container's: NAME=ADDRESS
    #[arg(long, value_name = "NAME=ADDRESS")]
    aux_address: Vec<String>,
    /// Make a definition for other networks, and no network
    #[arg(long)]
    config_only: bool,
    /// The network made with --config-only whose definition it gets
    #[arg(long, value_name = "NETWORK")]
    config_from: Option<String>,
    /// IPv4 addresses, which every network has here
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    ipv4: Option<bool>,
    /// Refused: a swarm has such a network
    #[arg(long, hide = true)]
    ingress: bool,
    /// Where addresses come from: default
    #[arg(long, default_value = "default", hide = true)]
    ipam_driver: String,
    /// Taken for Docker's sake, and shown
    #[arg(long, value_name = "NAME=VALUE")]
    ipam_opt: Vec<String>,
    /// `local`
    #[arg(long, default_value = "local", hide = true)]
    scope: String,
    /// The network's name
    #[arg(value_name = "NETWORK")]
    name: String,
}

#[derive(Debug, Args)]
struct Ls {
    /// Show ids alone
    #[arg(short, long)]
    quiet: bool,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// Show those alone: driver=, id=, label=, name=, scope=, type=custom|builtin, dangling=true|false
    #[arg(short, long = "filter", value_name = "FILTER")]
    filters: Vec<String>,
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, Args)]
struct Inspect {
    /// json, or a template such as '{{.Driver}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Taken for Docker's sake
    #[arg(short, long)]
    verbose: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Rm {
    /// Don't mind those that aren't there
    #[arg(short, long)]
    force: bool,
    /// Names or ids of networks
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct Prune {
    #[command(flatten)]
    flags: PruneFlags,
}

#[derive(Debug, Args)]
struct Connect {
    /// One more name of the container in the network
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// The container's IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The container's IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<String>,
    /// The container's hardware address
    #[arg(long, value_name = "ADDRESS")]
    mac_address: Option<String>,
    /// Refused: coil's bridges take no options for one container
    #[arg(long, value_name = "NAME=VALUE", hide = true)]
    driver_opt: Vec<String>,
    /// Refused but for 0: the way out is that of the first network by name
    #[arg(long, value_name = "NUMBER", hide = true, allow_negative_numbers = true)]
    gw_priority: Option<i64>,
    /// Refused: every container of a network finds the others by name
    #[arg(long, value_name = "CONTAINER", hide = true)]
    link: Vec<String>,
    /// Refused: coil gives out no link-local addresses
    #[arg(long, value_name = "ADDRESS", hide = true)]
    link_local_ip: Vec<String>,
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

#[derive(Debug, Args)]
struct Disconnect {
    /// Don't mind a container that isn't there
    #[arg(short, long)]
    force: bool,
    /// The network
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Network {
    /// Does what was asked for.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        match self.command {
            Command::Create(create) => create.run(&engine),
            Command::Ls(ls) => ls.run(&engine, settings),
            Command::Inspect(inspect) => inspect.run(&engine, settings),
            Command::Rm(rm) => Ok(super::each(&rm.names, settings, |name| {
                match engine.remove_network(name) {
                    Err(NetworksError::Missing(_)) if rm.force => Ok(String::new()),
                    other => Ok(other?),
                }
            })),
            Command::Prune(prune) => prune.run(&engine),
            Command::Connect(connect) => connect.run(&engine),
            Command::Disconnect(disconnect) => disconnect.run(&engine),
        }
    }
}

impl Create {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        if self.ipam_driver != "default" {
            return Err(Failure::new(format!(
                "--ipam-driver: plugin \"{}\" not found",
                self.ipam_driver
            ))
            .help("leave it out: coil gives out the addresses itself"));
        }
        if self.scope == "swarm" {
            return Err(
                Failure::new("cannot create a swarm scoped network when swarm is not active")
                    .help("leave --scope out: coil has no swarms, and a network is one machine's"),
            );
        }
        if !["local", ""].contains(&self.scope.as_str()) {
            return Err(Failure::new(format!("--scope {} is not supported", self.scope))
                .help("leave it out: a network is one machine's"));
        }
        if self.ingress {
            return Err(Failure::new("Ingress network can only be global scope network")
                .help("leave --ingress out: coil has no swarms"));
        }
        if self.ipv4 == Some(false) {
            let message = match self.ipv6 {
                Some(true) => "--ipv4=false: coil makes no network without IPv4",
                _ => "IPv4 or IPv6 must be enabled",
            };
            return Err(Failure::new(message).help("leave --ipv4 out"));
        }
        if self.subnet.is_empty() && !(self.gateway.is_empty() && self.ip_range.is_empty()) {
            return Err(
                Failure::new("every ip-range or gateway must have a corresponding subnet")
                    .help("give --subnet too"),
            );
        }
        let id = engine.create_network(&CreateNetwork {
            name: self.name,
            driver: self.driver,
            subnets: self.subnet,
            gateways: self.gateway,
            ranges: self.ip_range,
            ipv6: self.ipv6.unwrap_or(false),
            internal: self.internal,
            attachable: self.attachable,
            labels: flags::label_flags("--label", &self.labels)?,
            options: flags::labels(&self.options),
            taken: flags::labels(&self.aux_address),
            address_options: flags::labels(&self.ipam_opt),
            config_only: self.config_only,
            config_from: self.config_from.unwrap_or_default(),
        })?;
        output::line(&id);
        Ok(0)
    }
}

/// A network as a row of a list.
fn row(record: &NetworkRecord, no_trunc: bool) -> Value {
    let created = Duration::new(record.created.0, record.created.1);
    json!({
        "CreatedAt": super::ps::docker_time(created),
        "Driver": record.driver(),
        "ID": if no_trunc { &record.id } else { short_id(&record.id) },
        "IPv4": "true",
        "IPv6": record.subnet6.is_some().to_string(),
        "Internal": record.internal.to_string(),
        "Labels": labels_in_words(&record.labels),
        "Name": record.name,
        "Scope": "local",
    })
}

fn bad_filter(filter: &str, known: &str) -> Failure {
    // A name that is none, or a value.
    let text = match filter.split_once('=') {
        Some((name, value)) if known.contains(&format!("{name}=")) => format!("'{name}'='{value}'"),
        Some((name, _)) => format!("'{name}'"),
        None => format!("'{filter}'"),
    };
    Failure::new(format!("invalid filter {text}")).help(format!("the filters are {known}"))
}

const LIST_FILTERS: &str = "driver=, id=, label=, name=, scope=, type=custom|builtin and dangling=true|false";

impl Ls {
    fn run(self, engine: &Engine, settings: &Settings) -> Result<i32, Failure> {
        let chosen = self.format.clone().or_else(|| settings.chosen("networksFormat"));
        let format = Format::parse(chosen.as_deref())?;
        // Filters of one kind are alternatives, but for labels; those of different kinds must all hold.
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for filter in &self.filters {
            let (kind, value) = filter
                .split_once('=')
                .ok_or_else(|| bad_filter(filter, LIST_FILTERS))?;
            kinds.entry(kind).or_default().push(value);
        }
        let mut networks = engine.networks();
        for (kind, values) in &kinds {
            let any = |test: &dyn Fn(&str) -> bool| values.iter().any(|value| test(value));
            match *kind {
                "driver" => networks.retain(|n| any(&|value| n.driver() == value)),
                "id" => networks.retain(|n| any(&|value| n.id.starts_with(value))),
                "label" => networks.retain(|n| values.iter().all(|value| has_label(&n.labels, value))),
                "name" => networks.retain(|n| any(&|value| n.name.contains(value))),
                "scope" => networks.retain(|_| any(&|value| value == "local")),
                "type" if values.iter().all(|v| ["custom", "builtin"].contains(v)) => {
                    networks.retain(|n| any(&|value| n.is_predefined() == (value == "builtin")));
                }
                "dangling" if values.iter().all(|v| ["true", "false", "1", "0"].contains(v)) => {
                    let wanted = values.iter().all(|value| ["true", "1"].contains(value));
                    networks.retain(|n| !n.is_predefined() && engine.is_dangling(n) == wanted);
                }
                _ => return Err(bad_filter(&format!("{kind}={}", values[0]), LIST_FILTERS)),
            }
        }
        if self.quiet {
            for network in &networks {
                output::line(if self.no_trunc {
                    &network.id
                } else {
                    short_id(&network.id)
                });
            }
            return Ok(0);
        }
        let rows = networks
            .iter()
            .map(|network| Row::from(row(network, self.no_trunc)).labelled(network.labels.clone()));
        format.list(&COLUMNS, rows)?;
        Ok(0)
    }
}

impl Inspect {
    fn run(self, engine: &Engine, settings: &Settings) -> Result<i32, Failure> {
        super::inspect_each(self.format.as_deref(), &self.names, settings, |name| {
            Ok(engine.inspect_network(&engine.network(name)?))
        })
    }
}

impl Prune {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let filters = self.flags.filters(true, &[])?;
        let warning = "WARNING! This will remove all custom networks not used by at least one container.";
        if self.flags.agreed(warning) {
            show_removed("Deleted Networks:", &engine.prune_networks(&filters.common)?);
        }
        Ok(0)
    }
}

impl Connect {
    /// What of a place in a network can't be had.
    fn check(&self) -> Result<(), Failure> {
        let (message, help) = if let Some(option) = self.driver_opt.first() {
            match option.contains('=') {
                true => (
                    format!("--driver-opt {option}: a place on coil's bridges has no options of its own"),
                    "leave it out; `coil network create -o` sets a network's",
                ),
                false => (
                    "invalid key/value pair format in driver options".to_owned(),
                    "leave --driver-opt out",
                ),
            }
        } else if let Some(number) = self.gw_priority.filter(|number| *number != 0) {
            (
                format!("--gw-priority {number}: the way out is that of the first network by name"),
                "leave it out, or name the network so that it comes first",
            )
        } else if let Some(link) = self.link.first() {
            (
                format!("--link {link}: a network's containers find each other by name already"),
                "leave it out, or give the other container an --alias in the network",
            )
        } else if let Some(address) = self.link_local_ip.first() {
            (
                format!("--link-local-ip {address}: coil gives out no link-local addresses"),
                "give --ip with an address of the network's subnet",
            )
        } else {
            return Ok(());
        };
        Err(Failure::new(message).help(help))
    }

    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        self.check()?;
        let address = |text: &str| {
            let family = if text.contains(':') { "IPv6" } else { "IPv4" };
            Failure::new(format!(
                "invalid endpoint settings: invalid {family} address: {text}"
            ))
            .help("give an address of the network's subnet")
        };
        let mac = match &self.mac_address {
            None => None,
            Some(text) => Some(
                hardware(text)
                    .ok_or_else(|| Failure::new(format!("{text} is not a valid mac address")).code(125))?,
            ),
        };
        let wish = NetworkWish {
            network: self.network,
            aliases: self.alias,
            ip: match &self.ip {
                Some(text) => Some(text.parse().map_err(|_| address(text))?),
                None => None,
            },
            ip6: match &self.ip6 {
                Some(text) => Some(text.parse().map_err(|_| address(text))?),
                None => None,
            },
            mac,
        };
        engine.connect_network(&wish, &self.container)?;
        Ok(0)
    }
}

impl Disconnect {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        match engine.disconnect_network(&self.network, &self.container) {
            Err(NetworksError::Container(_)) if self.force => Ok(0),
            other => other.map(|()| 0).map_err(Failure::from),
        }
    }
}
