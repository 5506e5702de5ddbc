//! `coil context`: where commands are done. That is this machine, and the one context is `default`, as scripts ask for it.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::{Columns, Format};

/// The one context there is.
const NAME: &str = "default";

const COLUMNS: Columns<'static> = Columns {
    of: "*formatter.clientContextContext",
    shown: &[
        ("NAME", "Name"),
        ("DESCRIPTION", "Description"),
        ("DOCKER ENDPOINT", "DockerEndpoint"),
        ("ERROR", "Error"),
    ],
    more: &[("CURRENT", "Current"), ("CONTEXT TYPE", "ContextType")],
};

/// Arguments of `coil context`.
#[derive(Debug, Args)]
#[command(subcommand_required = true)]
pub struct Context {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the name of the context that is used
    Show,
    /// List contexts
    #[command(visible_alias = "list")]
    Ls(Ls),
    /// Use a context from now on
    Use(Named),
    /// Show all that is known of contexts
    Inspect(Inspect),
}

#[derive(Debug, Args)]
struct Ls {
    /// Show names alone
    #[arg(short, long)]
    quiet: bool,
    /// table, json, or a template such as '{{.Name}}'
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

#[derive(Debug, Args)]
struct Named {
    /// The context: default
    #[arg(value_name = "CONTEXT")]
    name: String,
}

#[derive(Debug, Args)]
struct Inspect {
    /// json, or a template such as '{{.Name}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// The contexts: default, which is meant when none is named
    #[arg(value_name = "CONTEXT")]
    names: Vec<String>,
}

fn absent(name: &str) -> Failure {
    Failure::new(format!("context {name:?}: context not found"))
        .help("coil works on this machine, in the context `default` alone")
}

impl Context {
    /// Does what the verb says.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        match self.verb {
            Verb::Show => {
                output::line(NAME);
                Ok(0)
            }
            Verb::Ls(ls) => ls.run(),
            Verb::Use(Named { name }) if name == NAME => {
                output::line(NAME);
                output::error_line("Current context is now \"default\"");
                Ok(0)
            }
            Verb::Use(Named { name }) => Err(absent(&name)),
            Verb::Inspect(inspect) => {
                let names = match inspect.names.is_empty() {
                    true => vec![NAME.to_owned()],
                    false => inspect.names,
                };
                super::inspect_each(inspect.format.as_deref(), &names, settings, |name| match name {
                    NAME => Ok(json!({
                        "Name": NAME,
                        "Metadata": {},
                        "Endpoints": { "docker": { "Host": "", "SkipTLSVerify": false } },
                        "TLSMaterial": {},
                        "Storage": { "MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>" },
                    })),
                    other => Err(absent(other)),
                })
            }
        }
    }
}

impl Ls {
    fn run(self) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        if self.quiet {
            output::line(NAME);
            return Ok(0);
        }
        let plain = self.format.is_none();
        let row = json!({
            "Current": true,
            "Description": "This machine",
            "DockerEndpoint": "",
            "Error": "",
            "Name": if plain { "default *" } else { NAME },
            "ContextType": "moby",
        });
        format.list(&COLUMNS, [row])?;
        Ok(0)
    }
}
