//! `coil container`: the commands about containers by the names that Docker groups them under.

use clap::{Args, Subcommand};

use super::inspect::Kind;
use super::{
    attach, commit, cp, create, diff, exec, export, inspect, kill, logs, pause, port, prune, ps, rename,
    restart, rm, run, start, stats, stop, top, update, wait,
};
use crate::arguments::Command;

/// Arguments of `coil container`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

/// The commands of the group.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Connect to the output and input of a container that runs
    Attach(attach::Attach),
    /// Make an image of a container
    Commit(commit::Commit),
    /// Copy files between a container and this machine
    Cp(cp::Cp),
    /// Make a container without starting it
    Create(Box<create::Create>),
    /// Show what a container changed of its image's files
    Diff(diff::Diff),
    /// Write a container's file system as a tar archive
    Export(export::Export),
    /// Run a command in a container that runs
    Exec(exec::Exec),
    /// Show all that is known of containers
    Inspect(inspect::Inspect),
    /// Send a signal to containers
    Kill(kill::Kill),
    /// Show what a container printed
    Logs(logs::Logs),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Ps),
    /// Stop containers' processes where they are
    Pause(pause::Pause),
    /// Show where a container's published ports are reached
    Port(port::Port),
    /// Remove all containers that don't run
    Prune(prune::Containers),
    /// Give a container another name
    Rename(rename::Rename),
    /// Stop containers and start them again
    Restart(restart::Restart),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(rm::Rm),
    /// Start a container from an image or a project's folder
    Run(Box<run::Run>),
    /// Start containers that were made, or that have ended
    Start(start::Start),
    /// Show what containers use
    Stats(stats::Stats),
    /// Stop containers: ask first, then kill
    Stop(stop::Stop),
    /// Show the processes of a container
    Top(top::Top),
    /// Let paused containers go on
    Unpause(pause::Pause),
    /// Change limits and restart policy of containers
    Update(Box<update::Update>),
    /// Wait for containers to end, and print their exit codes
    Wait(wait::Wait),
}

impl Group {
    /// The command that is meant.
    pub fn command(self) -> Command {
        match self.verb {
            Verb::Attach(attach) => Command::Attach(attach),
            Verb::Commit(commit) => Command::Commit(commit),
            Verb::Cp(cp) => Command::Cp(cp),
            Verb::Diff(diff) => Command::Diff(diff),
            Verb::Export(export) => Command::Export(export),
            Verb::Create(create) => Command::Create(create),
            Verb::Exec(exec) => Command::Exec(exec),
            Verb::Inspect(inspect) => Command::Inspect(inspect.only(Kind::Container)),
            Verb::Kill(kill) => Command::Kill(kill),
            Verb::Logs(logs) => Command::Logs(logs),
            Verb::Ls(ps) => Command::Ps(ps),
            Verb::Pause(pause) => Command::Pause(pause),
            Verb::Port(port) => Command::Port(port),
            Verb::Prune(prune) => Command::ContainerPrune(prune),
            Verb::Rename(rename) => Command::Rename(rename),
            Verb::Restart(restart) => Command::Restart(restart),
            Verb::Rm(rm) => Command::Rm(rm),
            Verb::Run(run) => Command::Run(run),
            Verb::Start(start) => Command::Start(start),
            Verb::Stats(stats) => Command::Stats(stats),
            Verb::Stop(stop) => Command::Stop(stop),
            Verb::Top(top) => Command::Top(top),
            Verb::Unpause(pause) => Command::Unpause(pause),
            Verb::Update(update) => Command::Update(update),
            Verb::Wait(wait) => Command::Wait(wait),
        }
    }
}
