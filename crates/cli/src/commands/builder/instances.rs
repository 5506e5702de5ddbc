//! `coil buildx create`, `use`, `ls`, `inspect`, `rm`, `stop`, `version`: builders by name, each of which is coil on this machine.
//!
//! Scripts make a builder before they build. There is nothing to make: a name is kept, so that it is known afterwards, and
//! what coil has no use for is told.

use clap::{Args, Subcommand};
use coil_build::executor::Executor;
use coil_engine::Engine;
use coil_oci::{Arch, Platform};
use coil_store::Store;
use serde_json::json;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{Columns, Format, Row};

/// The builder that is always there.
const DEFAULT: &str = "default";
/// The variable that names the builder.
const VARIABLE: &str = "BUILDX_BUILDER";

/// The commands about builders.
#[derive(Debug, Subcommand)]
pub enum Instances {
    /// Give a name to a builder, which coil is itself
    Create(Box<Create>),
    /// Use a builder where none is named
    Use(Use),
    /// Show a builder
    Inspect(Inspect),
    /// List builders
    Ls(Ls),
    /// Forget builders' names
    Rm(Rm),
    /// Stop a builder: nothing runs between builds
    Stop(Stop),
    /// Show the version
    Version,
    /// Make `build` the same as `buildx build`, which it is
    #[command(hide = true)]
    Install,
    /// The other way round
    #[command(hide = true)]
    Uninstall,
}

/// Arguments of `coil buildx create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The builder's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// docker-container, or docker: both are coil here
    #[arg(long, value_name = "DRIVER")]
    driver: Option<String>,
    /// Of no use here: there is no daemon to set up
    #[arg(long = "driver-opt", value_name = "OPTION")]
    driver_options: Vec<String>,
    /// Of no use here: there is no daemon to set up
    #[arg(long, value_name = "FLAGS")]
    buildkitd_flags: Option<String>,
    /// Of no use here: there is no daemon to set up
    #[arg(long, value_name = "FILE", alias = "config")]
    buildkitd_config: Option<String>,
    /// The platforms that are meant
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<String>,
    /// Use it where none is named
    #[arg(long = "use")]
    uses: bool,
    /// Have it ready at once, which it is
    #[arg(long)]
    bootstrap: bool,
    /// Add a machine to a builder, which coil can't
    #[arg(long)]
    append: bool,
    /// Take a machine from a builder, which coil can't
    #[arg(long)]
    leave: bool,
    /// The machine's name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// `default`, which is this machine
    #[arg(value_name = "CONTEXT")]
    endpoint: Option<String>,
}

/// Arguments of `coil buildx use`.
#[derive(Debug, Args)]
pub struct Use {
    /// Use it everywhere, which is the rule
    #[arg(long)]
    default: bool,
    /// Use it in every context, which is the rule
    #[arg(long)]
    global: bool,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// The builder's name
    name: String,
}

/// Arguments of `coil buildx inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// Have it ready first, which it is
    #[arg(long)]
    bootstrap: bool,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// The builder's name; else the one that is used
    name: Option<String>,
}

/// Arguments of `coil buildx ls`.
#[derive(Debug, Args)]
pub struct Ls {
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Shorten nothing
    #[arg(long)]
    no_trunc: bool,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
}

/// Arguments of `coil buildx rm`.
#[derive(Debug, Args)]
pub struct Rm {
    /// Forget those that don't run: none ever does
    #[arg(long)]
    all_inactive: bool,
    /// Don't ask
    #[arg(short, long)]
    force: bool,
    /// Keep the daemon: there is none
    #[arg(long)]
    keep_daemon: bool,
    /// Keep what was built, which is kept anyway
    #[arg(long)]
    keep_state: bool,
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// Names; else the one that is used
    names: Vec<String>,
}

/// Arguments of `coil buildx stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Say more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// The builder's name; else the one that is used
    name: Option<String>,
}

/// The builder that is meant: by name, by the variable, or by what was chosen.
///
/// # Errors
/// When there is none of that name.
pub fn chosen(name: Option<&str>, settings: &Settings, store: &Store) -> Result<String, Failure> {
    let variable = settings.environment().text(VARIABLE);
    let named = [name.map(str::to_owned), variable]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty());
    let name = match named {
        None => return Ok(store.current_builder().unwrap_or_else(|| DEFAULT.into())),
        Some(name) => name,
    };
    match name == DEFAULT || store.has_builder(&name) {
        true => Ok(name),
        false => Err(Failure::new(format!("no builder \"{name}\" found")).help(
            "leave --builder out: coil builds on this machine; `coil buildx create --name NAME` makes the name known",
        )),
    }
}

fn kept<T>(written: std::io::Result<T>) -> Result<T, Failure> {
    written.map_err(|error| Failure::new(format!("the list of builders cannot be written: {error}")))
}

impl Instances {
    /// Does it; `named` is what stood before the command as `--builder`.
    pub fn run(self, named: Option<&str>, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let store = engine.store();
        match self {
            Instances::Create(create) => create.run(settings, store)?,
            Instances::Use(chosen_by) => {
                let name = chosen(Some(&chosen_by.name), settings, store)?;
                let chosen = Some(name.as_str()).filter(|name| *name != DEFAULT);
                kept(store.set_current_builder(chosen))?;
            }
            Instances::Inspect(inspect) => {
                let name = chosen(inspect.name.as_deref().or(named), settings, store)?;
                show(&engine, &name);
            }
            Instances::Ls(list) => list.run(settings, &engine)?,
            Instances::Rm(rm) => rm.run(named, settings, store)?,
            Instances::Stop(stop) => {
                chosen(stop.name.as_deref().or(named), settings, store)?;
            }
            Instances::Version => output::line(&format!(
                "github.com/docker/buildx v0.29.1 coil-{}",
                env!("CARGO_PKG_VERSION")
            )),
            Instances::Install | Instances::Uninstall => {}
        }
        Ok(0)
    }
}

impl Create {
    fn run(self, settings: &Settings, store: &Store) -> Result<(), Failure> {
        let refused = |what: String, help: &str| Err(Failure::new(what).help(help));
        let here = "coil builds on this machine; leave it out, and build elsewhere by running coil there";
        match self.driver.as_deref() {
            None | Some("" | "docker-container" | "docker") => {}
            Some(driver @ ("kubernetes" | "remote" | "cloud")) => {
                return refused(format!("--driver {driver} cannot be honoured"), here);
            }
            Some(driver) => {
                return refused(
                    format!("failed to find driver \"{driver}\""),
                    "give --driver docker-container, or leave it out",
                );
            }
        }
        if let Some(endpoint) = self.endpoint.as_deref().filter(|name| *name != DEFAULT) {
            return refused(format!("the endpoint {endpoint} cannot be honoured"), here);
        }
        for (flag, is_given) in [("--append", self.append), ("--leave", self.leave)] {
            if is_given {
                return refused(
                    format!("{flag} cannot be honoured: a builder is this machine alone"),
                    here,
                );
            }
        }
        for text in &self.platforms {
            text.parse::<Platform>()
                .map_err(|error| Failure::of(&error).help("give linux/amd64 or linux/arm64"))?;
        }
        let name = match self.name {
            Some(name) if !Store::is_builder_name(&name) => {
                return refused(
                    format!("invalid builder name \"{name}\""),
                    "a name is letters, digits, `.`, `_` and `-`",
                );
            }
            Some(name) if name == DEFAULT => {
                return refused(
                    "default is a reserved name and cannot be used to identify builder instance".into(),
                    "choose another name",
                );
            }
            Some(name) if store.has_builder(&name) => {
                return refused(
                    format!(
                        "existing instance for \"{name}\" but no append mode, specify the node name to make changes for existing instances"
                    ),
                    &format!("`coil buildx use {name}` chooses it, `coil buildx rm {name}` forgets it"),
                );
            }
            Some(name) => name,
            None => {
                let mut names = (0..).map(|number| format!("builder{number}"));
                names.find(|name| !store.has_builder(name)).unwrap_or_default()
            }
        };
        kept(store.put_builder(&name))?;
        if self.uses {
            kept(store.set_current_builder(Some(&name)))?;
        }
        let options = self
            .driver_options
            .iter()
            .map(|option| format!("--driver-opt {option}"));
        let flags = self
            .buildkitd_flags
            .iter()
            .map(|flags| format!("--buildkitd-flags {flags}"));
        let config = self
            .buildkitd_config
            .iter()
            .map(|file| format!("--buildkitd-config {file}"));
        for what in options.chain(flags).chain(config) {
            output::error_line(&format!(
                "note: {what} changes nothing: coil builds by itself, there is no BuildKit to set up"
            ));
        }
        if self.bootstrap && settings.as_docker() {
            output::error_line("note: there is nothing to boot: coil builds by itself");
        }
        output::line(&name);
        Ok(())
    }
}

/// The platforms whose programs run here.
fn platforms(engine: &Engine) -> String {
    let mut all = vec![Arch::host()];
    all.extend(
        [Arch::Amd64, Arch::Arm64]
            .into_iter()
            .filter(|arch| *arch != Arch::host()),
    );
    let runs = all.into_iter().filter(|arch| engine.refusal(*arch).is_none());
    runs.map(|arch| Platform::linux(arch).to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

fn version() -> String {
    format!("coil-{}", env!("CARGO_PKG_VERSION"))
}

fn show(engine: &Engine, name: &str) {
    let node = if name == DEFAULT {
        DEFAULT.to_owned()
    } else {
        format!("{name}0")
    };
    for (field, value) in [("Name:", name), ("Driver:", "coil")] {
        output::line(&format!("{field:<14} {value}"));
    }
    output::line("\nNodes:");
    for (field, value) in [
        ("Name:", node),
        ("Endpoint:", "this machine".to_owned()),
        ("Status:", "running".to_owned()),
        ("BuildKit version:", format!("none ({})", version())),
        ("Platforms:", platforms(engine)),
    ] {
        output::line(&format!("{field:<17} {value}"));
    }
}

const COLUMNS: Columns<'static> = Columns {
    of: "*commands.lsContext",
    shown: &[
        ("NAME/NODE", "Name"),
        ("DRIVER/ENDPOINT", "DriverEndpoint"),
        ("STATUS", "Status"),
        ("BUILDKIT", "Buildkit"),
        ("PLATFORMS", "Platforms"),
    ],
    more: &[
        ("CURRENT", "Current"),
        ("LAST ACTIVITY", "LastActivity"),
        ("ERROR", "Error"),
    ],
};

impl Ls {
    fn run(self, settings: &Settings, engine: &Engine) -> Result<(), Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let current = chosen(None, settings, engine.store())?;
        let is_table = matches!(format, Format::Table);
        let mut rows = Vec::new();
        for name in engine.store().builders().into_iter().chain([DEFAULT.to_owned()]) {
            let star = if name == current && is_table { "*" } else { "" };
            let row = |name: String, endpoint: &str, status: &str, version: String, platforms: String| {
                Row::from(json!({
                    "Name": name, "DriverEndpoint": endpoint, "Status": status, "Buildkit": version,
                    "Platforms": platforms, "Current": !star.is_empty(), "LastActivity": "", "Error": "",
                }))
            };
            let node = if name == DEFAULT {
                DEFAULT.to_owned()
            } else {
                format!("{name}0")
            };
            if is_table {
                rows.push(row(
                    format!("{name}{star}"),
                    "coil",
                    "",
                    String::new(),
                    String::new(),
                ));
                let node = format!(" \\_ {node}");
                rows.push(row(
                    node,
                    " \\_ this machine",
                    "running",
                    version(),
                    platforms(engine),
                ));
            } else {
                rows.push(row(name, "coil", "running", version(), platforms(engine)));
            }
        }
        format.list(&COLUMNS, rows)
    }
}

impl Rm {
    fn run(self, named: Option<&str>, settings: &Settings, store: &Store) -> Result<(), Failure> {
        let names = match (self.names.is_empty(), self.all_inactive) {
            (true, true) => Vec::new(),
            (true, false) => vec![chosen(named, settings, store)?],
            _ => self.names,
        };
        for name in names {
            if name == DEFAULT {
                return Err(Failure::new("context builder cannot be removed")
                    .help("the builder `default` is coil itself"));
            }
            let known = chosen(Some(&name), settings, store)?;
            kept(store.remove_builder(&known))?;
            output::error_line(&format!("{known} removed"));
        }
        Ok(())
    }
}
