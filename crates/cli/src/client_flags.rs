//! What Docker's client takes before the command: accepted where it means this machine, refused by name where it doesn't.

use std::path::PathBuf;

use clap::Args;

use crate::environment::Environment;
use crate::report::Failure;

/// The flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Taken for Docker's sake")]
pub struct ClientFlags {
    /// The folder with logins, as DOCKER_CONFIG names it
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// `default`: coil works on this machine
    #[arg(short, long, value_name = "NAME")]
    context: Option<String>,
    /// Tell more; coil has no more to tell
    #[arg(short = 'D', long)]
    debug: bool,
    /// A socket of this machine; coil reaches no remote daemon
    #[arg(short = 'H', long = "host", value_name = "SOCKET")]
    hosts: Vec<String>,
    /// debug, info, warn, error or fatal
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    #[arg(long, hide = true)]
    tls: bool,
    #[arg(long, hide = true)]
    tlsverify: bool,
    #[arg(long, hide = true, value_name = "FILE")]
    tlscacert: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    tlscert: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    tlskey: Option<String>,
}

const LEVELS: [&str; 7] = ["trace", "debug", "info", "warn", "error", "fatal", "panic"];

impl ClientFlags {
    /// Looks for what coil can't do.
    ///
    /// # Errors
    /// When another machine, or a way to it, is meant.
    pub fn check(&self, environment: &Environment, as_docker: bool) -> Result<(), Failure> {
        let said = |names: &str| Failure::new(format!("{names}, and coil reaches no remote daemon"));
        if let Some(host) = self.hosts.iter().find(|host| is_remote(host)) {
            return Err(said(&format!("-H is {host}"))
                .help("leave -H out to work on this machine")
                .code(125));
        }
        if let Some(context) = self.context.as_ref().filter(|context| *context != "default") {
            return Err(Failure::new(format!("context {context:?}: context not found"))
                .help("leave --context out to work on this machine: coil has `default` alone"));
        }
        if let Some(level) = self
            .log_level
            .as_ref()
            .filter(|level| !LEVELS.contains(&level.as_str()))
        {
            return Err(Failure::new(format!("unable to parse logging level: {level}"))
                .help(format!("give {}", LEVELS.join(", "))));
        }
        let tls = [
            ("--tls", self.tls),
            ("--tlsverify", self.tlsverify),
            ("--tlscacert", self.tlscacert.is_some()),
            ("--tlscert", self.tlscert.is_some()),
            ("--tlskey", self.tlskey.is_some()),
        ];
        if let Some((name, _)) = tls.iter().find(|(_, given)| *given) {
            return Err(said(&format!("{name} is about a connection"))
                .help(format!("leave {name} out to work on this machine"))
                .code(125));
        }
        if as_docker && self.hosts.is_empty() {
            if let Some(host) = environment.text("DOCKER_HOST").filter(|host| is_remote(host)) {
                return Err(said(&format!("DOCKER_HOST is {host}"))
                    .help("unset DOCKER_HOST to work on this machine")
                    .code(125));
            }
            let context = environment
                .text("DOCKER_CONTEXT")
                .filter(|name| name != "default");
            if let Some(context) = context.filter(|_| self.context.is_none()) {
                return Err(said(&format!("DOCKER_CONTEXT is {context}"))
                    .help("unset DOCKER_CONTEXT to work on this machine")
                    .code(125));
            }
        }
        Ok(())
    }
}

/// Whether a daemon's address is another machine's, or at least no socket of this one.
fn is_remote(host: &str) -> bool {
    !(host.starts_with("unix://") || host.is_empty())
}
