//! `coil system`: what concerns all of coil on this machine.

use clap::{Args, Subcommand};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// Arguments of `coil system`.
#[derive(Debug, Args)]
pub struct System {
    #[command(subcommand)]
    command: SystemCommand,
}

/// The commands of the group.
#[derive(Debug, Subcommand)]
enum SystemCommand {
    /// Start the containers whose restart policy says so, after the machine has started
    Boot(Boot),
    /// Show what lies on the disk
    Df(super::df::Df),
    /// Show what happens to containers, images, networks and volumes
    Events(super::events::Events),
    /// Show what coil works with on this machine
    Info(super::info::Info),
    /// Remove what nobody uses: containers, networks, images, the build cache
    Prune(super::prune::Everything),
}

impl System {
    /// Runs one.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        match self.command {
            SystemCommand::Boot(boot) => boot.run(settings),
            SystemCommand::Df(df) => df.run(settings),
            SystemCommand::Prune(prune) => prune.run(settings),
            SystemCommand::Events(events) => events.run(settings),
            SystemCommand::Info(info) => info.run(settings),
        }
    }
}

/// Arguments of `coil system boot`.
#[derive(Debug, Args)]
struct Boot {
    /// Print a systemd unit that does this at each start of the machine
    #[arg(long)]
    unit: bool,
}

impl Boot {
    fn run(self, settings: &Settings) -> Result<i32, Failure> {
        if self.unit {
            output::print(&unit(settings));
            return Ok(0);
        }
        let engine = settings.engine()?;
        let mut code = 0;
        for (name, started) in engine.boot() {
            match started {
                Ok(started) => {
                    for notice in &started.notices {
                        output::error_line(&format!("note: {notice}"));
                    }
                    output::line(&name);
                }
                Err(error) => {
                    output::error_line(&format!("{name} does not start"));
                    Failure::from(error).show(Some(settings.root()));
                    code = 1;
                }
            }
        }
        Ok(code)
    }
}

/// A unit for root, or for `systemctl --user` with lingering.
fn unit(settings: &Settings) -> String {
    let (program, root) = (settings.program().display(), settings.root().display());
    let wanted = match settings.ids().0 {
        0 => "multi-user.target",
        _ => "default.target",
    };
    format!(
        "# Written by `coil system boot --unit`. Containers run in control groups of their own: a stop of this unit ends none.\n\
         [Unit]\n\
         Description=Containers of coil that start with the machine\n\
         Wants=network-online.target\n\
         After=network-online.target local-fs.target\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         KillMode=none\n\
         Delegate=yes\n\
         ExecStart=\"{program}\" --root \"{root}\" system boot\n\
         \n\
         [Install]\n\
         WantedBy={wanted}\n"
    )
}
