//! Bytecode by an interpreter that is run in a container alone: one of a base that coil did not assemble.
//!
//! The interpreter speaks through two named pipes in a folder that is bound into its container, so that the container needs
//! neither a shell nor a way to pass its standard input on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use coil_oci::Arch;
use coil_store::Store;
use coil_wheel::bytecode::{Interpreter, Launch, Launcher, Session};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::base::{Compiler, CompilerPlace};
use crate::error::PackError;
use crate::executor::{Executor, Step, StepBind, StepError, StepPrivileges, Tail};
use crate::request::Packer;

/// Where the pipes are, in the container.
const PIPES: &str = "/run/coil-compiler";

/// Makes the pipes the interpreter's standard input and output, before anything else runs.
const PRELUDE: &str = "import posix\n\
    posix.dup2(posix.open('/run/coil-compiler/in', posix.O_RDONLY), 0)\n\
    posix.dup2(posix.open('/run/coil-compiler/out', posix.O_WRONLY), 1)\n";

/// An interpreter that is to be started, and where the answer goes.
struct Wanted {
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    answer: Sender<io::Result<Session>>,
}

/// Passes what is wanted on to the thread that knows the executor.
struct Ask {
    program: String,
    wanted: Mutex<Sender<Wanted>>,
}

impl Launch for Ask {
    fn launch(&self, options: &[&str], environment: &[(&str, &str)]) -> io::Result<Session> {
        let mut argv = vec![self.program.clone()];
        let mut options = options.iter();
        while let Some(option) = options.next() {
            argv.push((*option).to_owned());
            if *option == "-c" {
                argv.push(format!("{PRELUDE}{}", options.next().unwrap_or(&"")));
            }
        }
        let env = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let (answer, answered) = channel();
        let gone = || io::Error::other("no container can be started any more");
        self.wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Wanted { argv, env, answer })
            .map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }
}

/// The folder of one interpreter's pipes and writes; removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(store: &Store) -> io::Result<Scratch> {
        let scratch = Scratch(store.temp_path()?);
        fs::create_dir(&scratch.0)?;
        for folder in ["upper", "pipes"] {
            fs::create_dir(scratch.0.join(folder))?;
        }
        for pipe in ["in", "out"] {
            let path = scratch.pipe(pipe);
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        }
        Ok(scratch)
    }

    fn pipe(&self, name: &str) -> PathBuf {
        self.0.join("pipes").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the interpreter prints; at its end, why its container failed, if it did.
struct Output {
    file: File,
    failure: Failure,
}

type Failure = Arc<Mutex<Option<String>>>;

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            Some(reason) if read == 0 => Err(io::Error::other(reason.clone())),
            _ => Ok(read),
        }
    }
}

/// A container that is about to be started, and what must live as long as it does.
struct Begun {
    step: Step,
    failure: Failure,
    guards: [File; 2],
    _scratch: Scratch,
}

/// Opens the reading end without waiting for a writer.
fn reading_end(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

fn writing_end(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(path)
}

impl Packer<'_> {
    /// Why no bytecode can be made for a compiler here; `None` if it can.
    pub(crate) fn compiler_refusal(&self, compiler: &Compiler) -> Option<String> {
        match (&compiler.place, self.executor) {
            (CompilerPlace::OwnTree, _) => None,
            (CompilerPlace::Container { .. }, None) => Some("containers can't be made here".into()),
            (CompilerPlace::Container { .. }, Some(executor)) => executor.refusal(Arch::host()),
        }
    }

    /// Whether a base from elsewhere gets bytecode here: its interpreter needs a container of this machine's architecture.
    pub(crate) fn could_compile(&self, arch: Arch) -> bool {
        arch == Arch::host()
            && self
                .executor
                .is_some_and(|executor| executor.refusal(arch).is_none())
    }

    /// Does work with an interpreter that compiles; it is got, unpacked and started only when it is asked for.
    pub(crate) fn with_interpreter<R>(
        &self,
        compiler: &Compiler,
        work: impl FnOnce(&(dyn Fn() -> Result<Interpreter, PackError> + Sync)) -> Result<R, PackError>,
    ) -> Result<R, PackError> {
        let (CompilerPlace::Container { program, .. }, Some(executor)) = (&compiler.place, self.executor)
        else {
            return work(&|| {
                let trees = compiler.trees(self.store)?;
                let tree = trees.last().cloned().unwrap_or_default();
                Interpreter::in_tree(&tree, &compiler.version, &compiler.identity).map_err(PackError::from)
            });
        };
        let (wanted, asked) = channel();
        let launcher = Launcher(Arc::new(Ask {
            program: program.clone(),
            wanted: Mutex::new(wanted),
        }));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let launched: Receiver<Wanted> = asked;
                std::thread::scope(|containers| {
                    for wanted in launched {
                        let begun = self.begin(compiler, &wanted);
                        let answer = begun.map(|(session, begun)| {
                            containers.spawn(move || run(executor, begun));
                            session
                        });
                        let _ = wanted.answer.send(answer);
                    }
                });
            });
            let result = work(&|| {
                Ok(Interpreter::elsewhere(
                    Path::new(program),
                    &compiler.version,
                    &compiler.identity,
                    launcher.clone(),
                ))
            });
            // The last one that can ask: the thread ends with it.
            drop(launcher);
            result
        })
    }

    fn begin(&self, compiler: &Compiler, wanted: &Wanted) -> io::Result<(Session, Begun)> {
        let lower = compiler
            .trees(self.store)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let scratch = Scratch::new(self.store)?;
        // Both ends are held here until the container has ended: before, nobody waits for an open; after, nobody for an answer.
        let (for_input, output) = (
            reading_end(&scratch.pipe("in"))?,
            reading_end(&scratch.pipe("out"))?,
        );
        let (input, for_output) = (
            writing_end(&scratch.pipe("in"))?,
            writing_end(&scratch.pipe("out"))?,
        );
        let mut step = Step::new(Arch::host(), lower, scratch.0.join("upper"), wanted.argv.clone());
        if let CompilerPlace::Container { env, .. } = &compiler.place {
            step.env.extend(env.clone());
        }
        step.env.extend(wanted.env.clone());
        step.privileges = StepPrivileges::Nothing;
        step.binds.push(StepBind {
            source: scratch.0.join("pipes"),
            target: PIPES.into(),
            read_only: false,
        });
        let failure = Failure::default();
        let session = Session {
            input: Box::new(input),
            output: Box::new(Output {
                file: output,
                failure: failure.clone(),
            }),
        };
        let begun = Begun {
            step,
            failure,
            guards: [for_input, for_output],
            _scratch: scratch,
        };
        Ok((session, begun))
    }
}

/// Runs the container to its end; what it can't do shows as a pipe that ends.
fn run(executor: &dyn Executor, begun: Begun) {
    let tail = Tail::default();
    let failed = match executor.run(&begun.step, &mut |printed| tail.push(printed)) {
        Ok(end) if end.is_success() => None,
        Ok(end) => {
            let last = tail.lines(1).pop().unwrap_or_default();
            Some(
                format!("it ended with code {} {last}", end.code)
                    .trim_end()
                    .to_owned(),
            )
        }
        Err(error) => Some(error.to_string()),
    };
    *begun.failure.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    drop(begun.guards);
}

/// A question to an interpreter.
pub(crate) struct Asked<'a> {
    /// The program in the image.
    pub(crate) program: String,
    /// Its environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Its file system, the lowest layer first.
    pub(crate) lower: Vec<PathBuf>,
    /// What it runs; what that prints is the answer.
    pub(crate) code: &'a str,
}

impl Packer<'_> {
    /// Asks an interpreter of an image, in a container; no answer where there are no containers, or it doesn't run there.
    pub(crate) fn ask_python(&self, asked: &Asked<'_>) -> Result<Option<String>, StepError> {
        let Some(executor) = self
            .executor
            .filter(|executor| executor.refusal(Arch::host()).is_none())
        else {
            return Ok(None);
        };
        let prepare = |source| StepError::Prepare {
            path: self.store.temp_dir(),
            source,
        };
        let scratch = Scratch::new(self.store).map_err(prepare)?;
        let argv = ["-I", "-S", "-B", "-c", asked.code].map(str::to_owned);
        let argv = std::iter::once(asked.program.clone()).chain(argv).collect();
        let mut step = Step::new(Arch::host(), asked.lower.clone(), scratch.0.join("upper"), argv);
        step.env.extend(asked.env.clone());
        step.privileges = StepPrivileges::Nothing;
        let mut printed = Vec::new();
        let end = executor.run(&step, &mut |bytes| printed.extend_from_slice(bytes))?;
        Ok(end
            .is_success()
            .then(|| String::from_utf8_lossy(&printed).into_owned()))
    }
}
