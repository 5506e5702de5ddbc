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
    /// Where addresses come from: default
    #[arg(long, default_value = "default", hide = true)]
    ipam_driver: String,
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
            Command::Ls(ls) => ls.run(&engine),
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
            return Err(
                Failure::new(format!("--ipam-driver {} is not supported", self.ipam_driver))
                    .help("leave it out: coil gives out the addresses itself"),
            );
        }
        if self.scope != "local" {
            return Err(Failure::new(format!("--scope {} is not supported", self.scope))
                .help("leave it out: a network is one machine's"));
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
            labels: flags::labels(&self.labels),
            options: flags::labels(&self.options),
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
    Failure::new(format!("invalid filter '{filter}'")).help(format!("the filters are {known}"))
}

const LIST_FILTERS: &str = "driver=, id=, label=, name=, scope=, type=custom|builtin and dangling=true|false";

impl Ls {
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
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
    fn run(self, engine: &Engine) -> Result<i32, Failure> {
        let address = |flag: &str, text: &str| {
            Failure::new(format!(
                "invalid argument \"{text}\" for \"{flag}\" flag: {text} is not an ip address"
            ))
            .code(125)
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
                Some(text) => Some(text.parse().map_err(|_| address("--ip", text))?),
                None => None,
            },
            ip6: match &self.ip6 {
                Some(text) => Some(text.parse().map_err(|_| address("--ip6", text))?),
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
