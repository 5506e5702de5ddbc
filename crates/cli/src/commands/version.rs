//! `coil version`.

use clap::Args;
use coil_oci::{Arch, Platform};
use serde_json::json;

use crate::output;
use crate::report::Failure;
use crate::template::{self, Format};

/// Arguments of `coil version`.
#[derive(Debug, Args)]
pub struct Version {
    /// json, or a template such as '{{.Client.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    /// Prints it.
    pub fn run(self) -> Result<i32, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let platform = Platform::linux(Arch::host()).to_string();
        let facts = json!({ "Client": { "Version": version, "Platform": platform } });
        match Format::parse(self.format.as_deref())? {
            Format::Table => output::line(&format!("coil {version} {platform}")),
            Format::Json => output::line(&facts.to_string()),
            Format::Template(pieces) => output::line(&template::fill(&pieces, &facts)),
        }
        Ok(0)
    }
}
