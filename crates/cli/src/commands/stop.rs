//! `coil stop`: asks containers to end, and kills those that don't.

use clap::Args;
use coil_engine::{ContainerError, StopRequest, signal_number};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;

/// How containers are asked to stop, for `stop` and `restart`.
#[derive(Debug, Args)]
pub struct StopFlags {
    /// Seconds to wait before the kill; a negative number waits for ever
    #[arg(
        short = 't',
        long = "timeout",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
    /// The older name of --timeout
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, hide = true)]
    time: Option<i64>,
    /// The signal that asks them, by name or number
    #[arg(short, long)]
    signal: Option<String>,
}

impl StopFlags {
    /// What the engine is asked for.
    pub fn request(&self) -> Result<StopRequest, Failure> {
        if self.time.is_some() {
            // Where Docker's client says it.
            output::line("Flag --time has been deprecated, use --timeout instead");
        }
        let signal = match self.signal.as_deref() {
            None | Some("") => None,
            Some(text) => match signal_number(text) {
                Some(number) => Some(number),
                None => return Err(ContainerError::Signal(text.to_owned()).into()),
            },
        };
        Ok(StopRequest {
            seconds: self.timeout.or(self.time),
            signal,
        })
    }
}

/// Arguments of `coil stop`.
#[derive(Debug, Args)]
pub struct Stop {
    #[command(flatten)]
    stop: StopFlags,
    /// The containers' names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    /// Stops all at once and prints each name.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let engine = settings.engine()?;
        let request = self.stop.request()?;
        let mut results: Vec<Result<(), ContainerError>> = std::thread::scope(|scope| {
            let stop = |name: &String| {
                let (engine, request, name) = (&engine, &request, name.clone());
                scope.spawn(move || engine.stop(&name, request))
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
