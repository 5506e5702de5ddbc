//! `coil stop`: asks containers to end, and kills those that don't.

use clap::Args;
use coil_engine::ContainerError;

use crate::report::Failure;
use crate::settings::Settings;

/// For ever, as far as a container is concerned.
const FOR_EVER: u64 = 10 * 365 * 86_400;

/// Arguments of `coil stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Seconds to wait before the kill; a negative number waits for ever
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    /// Stops all at once and prints each name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let seconds = self
            .timeout
            .map(|seconds| u64::try_from(seconds).unwrap_or(FOR_EVER));
        let mut results: Vec<Result<(), ContainerError>> = std::thread::scope(|scope| {
            let stop = |name: &String| {
                let (engine, name) = (&engine, name.clone());
                scope.spawn(move || engine.stop(&name, seconds))
            };
            let threads: Vec<_> = self.containers.iter().map(stop).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let mut results = results.drain(..);
        Ok(super::each(&self.containers, settings, |name| {
            results.next().unwrap_or(Ok(()))?;
            Ok(name.to_owned())
        }))
    }
}
