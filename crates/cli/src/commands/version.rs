//! `coil version`.

use clap::Args;
use coil_oci::{Arch, Platform};
use serde_json::{Value, json};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;

/// The version of Docker whose words and answers coil gives when it is called as `docker`.
pub const AS_DOCKER: &str = concat!("version 28.5.2, build coil-", env!("CARGO_PKG_VERSION"));

const DOCKER: &str = "28.5.2";
const API: &str = "1.51";

/// Arguments of `coil version`.
#[derive(Debug, Args)]
pub struct Version {
    /// json, or a template such as '{{.Client.Version}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Version {
    /// Prints it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let own = env!("CARGO_PKG_VERSION");
        let platform = Platform::linux(Arch::host()).to_string();
        match Format::of_objects(self.format.as_deref(), "version")? {
            Format::Table if settings.as_docker() => {
                output::line(&format!(
                    "Client: coil {own}\n Version:           {DOCKER}\n API version:       {API}\n OS/Arch:           \
                     {platform}\n Context:           default\n\nServer: coil {own}, with no daemon\n Engine:\n  Version:          \
                     {DOCKER}\n  API version:      {API} (minimum version 1.24)\n  OS/Arch:          {platform}\n  \
                     Experimental:     false"
                ));
            }
            Format::Table => output::line(&format!("coil {own} {platform}")),
            Format::Json => output::line(&facts(settings.as_docker()).to_string()),
            Format::Template(shape) => {
                output::line(&shape.one("system.versionInfo", &facts(settings.as_docker()))?);
            }
        }
        Ok(0)
    }
}

/// The fields of Docker's; nothing is behind the client, so both sides are the same.
fn facts(as_docker: bool) -> Value {
    let own = env!("CARGO_PKG_VERSION");
    let version = if as_docker { DOCKER } else { own };
    let arch = Arch::host().to_string();
    let platform = Platform::linux(Arch::host()).to_string();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "Client": {
            "Platform": { "Name": format!("coil {own}") },
            "Version": version,
            "ApiVersion": API,
            "DefaultAPIVersion": API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "BuildTime": "",
            "Context": "default",
            "OsArch": platform,
        },
        "Server": {
            "Platform": { "Name": format!("coil {own}") },
            "Components": [{ "Name": "coil", "Version": own, "Details": {} }],
            "Version": version,
            "ApiVersion": API,
            "MinAPIVersion": "1.24",
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": arch,
            "KernelVersion": kernel.trim(),
            "Experimental": false,
            "BuildTime": "",
        },
    })
}
