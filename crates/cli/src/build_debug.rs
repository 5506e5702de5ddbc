//! A shell in the file system of a step: where a build failed, or at the end of a stage.

use std::sync::{Mutex, PoisonError};

use coil_build::dockerfile::{Debugger, FailedStep};
use coil_build::executor::{Step, StepEnd, StepError};
use coil_engine::Engine;
use coil_sys::{file, terminal};

use crate::attach::{self, Attachment};
use crate::build_progress::BuildLog;
use crate::output;
use crate::report::Failure;
use crate::signals::{Manner, SignalThread, terminal_size};
use crate::sweep::Sweep;

/// Opens shells.
pub struct Shells<'a> {
    engine: &'a Engine,
    signals: &'a SignalThread,
    sweep: Sweep,
    log: &'a BuildLog,
    /// One at a time has the terminal.
    turn: Mutex<()>,
}

impl<'a> Shells<'a> {
    /// Shells on coil's own terminal, or on its input where that is none.
    pub fn new(engine: &'a Engine, signals: &'a SignalThread, sweep: Sweep, log: &'a BuildLog) -> Shells<'a> {
        Shells {
            engine,
            signals,
            sweep,
            log,
            turn: Mutex::default(),
        }
    }

    /// Opens a shell, and gives what it ended with.
    ///
    /// # Errors
    /// When there is no shell, or no container.
    pub fn open(&self, step: &Step) -> Result<i32, Failure> {
        let shell = step.shell().ok_or_else(|| {
            Failure::new("there is no shell in this file system")
                .help("debug a stage that has one, or copy one in: COPY --from=busybox /bin /bin")
        })?;
        let mut step = step.clone();
        step.argv = vec![shell];
        if step.user.is_empty() {
            step.user = "0:0".into();
        }
        let is_terminal = file::standard(0).is_some_and(terminal::is_terminal);
        let size = is_terminal.then(|| terminal_size().unwrap_or((24, 80)));
        let attachment = Attachment {
            interactive: true,
            terminal: is_terminal,
            ..Attachment::default()
        };
        let manner = Manner {
            terminal: is_terminal,
            proxy: true,
        };
        let stay = &mut |client: &coil_engine::Client| {
            self.signals
                .forward(client, manner)
                .and_then(|()| attach::stay(self.engine, "", client, &attachment, false))
                .map(|code| StepEnd {
                    code,
                    out_of_memory: false,
                })
                .map_err(|_| StepError::Lost)
        };
        let ended = self.engine.open_step(&step, size, stay);
        self.signals.clean_up(self.sweep.clone());
        ended
            .map(|end| end.code)
            .map_err(|error| Failure::of(&error).maybe_help(error.help()))
    }
}

impl Debugger for Shells<'_> {
    fn failed(&self, step: &Step, why: &FailedStep) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.log.hold();
        let (ending, place) = match (&why.error, why.out_of_memory) {
            (Some(error), _) => (
                format!("failed: {error}"),
                "the files that it found, with its stage's variables",
            ),
            (None, true) => (
                "ran out of memory".to_owned(),
                "its file system, with its mounts and variables",
            ),
            (None, false) => (
                format!("failed with exit code {}", why.code),
                "its file system, with its mounts and variables",
            ),
        };
        output::error_line(&format!(
            "debug: {} {ending}\ndebug: this is a shell in {place}; `exit` ends the build",
            why.step
        ));
        for line in &why.tail {
            output::error_line(&format!("  | {}", line.trim_end()));
        }
        if let Err(failure) = self.open(step) {
            failure.show(None);
        }
        self.log.go_on();
    }
}
