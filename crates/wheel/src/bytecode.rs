//! Bytecode made by an interpreter of the image's own version, without importing anything.
//!
//! The interpreter runs from an unpacked base through that base's own loader, so neither the build machine's Python nor a
//! container is needed. One process is started for each thread; it forks a child for every group of files, because from
//! Python 3.12 on the bytes depend on what the same process compiled before (interned names live for ever).

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const WORKER: &str = include_str!("worker.py");
const FAILED: u32 = 0xffff_ffff;
const CRASHED: u32 = 0xffff_fffe;

/// How a bytecode file is tied to its source (PEP 552).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PycMode {
    /// By the source's hash, never compared: for what doesn't change inside an image.
    UncheckedHash,
    /// By the source's hash, compared at each import: for an application's own files.
    CheckedHash,
}

/// A program that compiles: its command line and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program to start.
    pub program: PathBuf,
    /// What comes before Python's own options.
    pub arguments: Vec<OsString>,
    /// PYTHONHOME, where it must be told.
    pub home: Option<PathBuf>,
    /// The full version, such as "3.11.2".
    pub version: String,
    /// What tells this interpreter from another one of the same version; part of every cache key.
    pub identity: String,
    /// What starts it, where it is no program of this machine.
    pub launcher: Option<Launcher>,
}

/// An interpreter that was started elsewhere, and the two ends to talk with it.
pub struct Session {
    /// Its standard input; its end tells it to go.
    pub input: Box<dyn Write + Send>,
    /// Its standard output.
    pub output: Box<dyn Read + Send>,
}

/// Starts interpreters where this machine can't run them itself: in a container.
pub trait Launch: Send + Sync {
    /// Starts one with these options and this environment.
    ///
    /// # Errors
    /// Why there is none; the text is for people.
    fn launch(&self, options: &[&str], environment: &[(&str, &str)]) -> std::io::Result<Session>;
}

/// A shared [`Launch`]; equal to itself alone.
#[derive(Clone)]
pub struct Launcher(
    /// What starts.
    pub Arc<dyn Launch>,
);

impl PartialEq for Launcher {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Launcher {}

impl fmt::Debug for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Launcher")
    }
}

/// Why nothing could be compiled.
#[derive(Debug)]
pub enum BytecodeError {
    /// The tree has no loader or no interpreter for the build machine.
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// The interpreter could not be started.
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The interpreter ended or stopped answering.
    Broken {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The interpreter is of another version.
    Version {
        /// The version wanted.
        wanted: String,
        /// The version it told.
        found: String,
    },
}

impl fmt::Display for BytecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BytecodeError::Missing { path } => {
                write!(f, "no interpreter to compile with: {} is missing", path.display())
            }
            BytecodeError::Start { program, .. } => write!(f, "{} cannot be started", program.display()),
            BytecodeError::Broken { program, .. } => {
                write!(
                    f,
                    "the interpreter that compiles, {}, stopped answering",
                    program.display()
                )
            }
            BytecodeError::Version { wanted, found } => {
                write!(
                    f,
                    "the interpreter that compiles is Python {found}, the image has {wanted}"
                )
            }
        }
    }
}

impl std::error::Error for BytecodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BytecodeError::Start { source, .. } | BytecodeError::Broken { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl Interpreter {
    /// The interpreter of an unpacked base of the build machine's own architecture, started through its own loader.
    ///
    /// Links inside the tree that are absolute would lead out of it, so only real files are taken.
    pub fn in_tree(root: &Path, version: &str, identity: &str) -> Result<Interpreter, BytecodeError> {
        let (triplet, loader) = match std::env::consts::ARCH {
            "aarch64" => ("aarch64-linux-gnu", "ld-linux-aarch64.so.1"),
            _ => ("x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
        };
        let libraries = root.join("usr/lib").join(triplet);
        let is_file = |path: &PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        let candidates = [
            libraries.join(loader),
            root.join("usr/lib64").join(loader),
            root.join("usr/lib").join(loader),
        ];
        let missing = candidates[0].clone();
        let loader = candidates
            .into_iter()
            .find(is_file)
            .ok_or(BytecodeError::Missing { path: missing })?;
        let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
        let python = root.join(format!("usr/bin/python{minor}"));
        if !is_file(&python) {
            return Err(BytecodeError::Missing { path: python });
        }
        let mut library_path = libraries.into_os_string();
        library_path.push(":");
        library_path.push(root.join("usr/lib"));
        Ok(Interpreter {
            program: loader,
            arguments: vec!["--library-path".into(), library_path, python.into_os_string()],
            home: Some(root.join("usr")),
            version: version.to_owned(),
            identity: identity.to_owned(),
            launcher: None,
        })
    }

    /// An interpreter that is installed on the build machine.
    pub fn installed(program: &Path, version: &str, identity: &str) -> Interpreter {
        Interpreter {
            program: program.to_owned(),
            arguments: Vec::new(),
            home: None,
            version: version.to_owned(),
            identity: identity.to_owned(),
            launcher: None,
        }
    }

    /// An interpreter that something else starts; `program` is its name for errors.
    pub fn elsewhere(program: &Path, version: &str, identity: &str, launcher: Launcher) -> Interpreter {
        Interpreter {
            launcher: Some(launcher),
            ..Interpreter::installed(program, version, identity)
        }
    }

    /// A command for it with an empty environment and no options yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().current_dir("/");
        if let Some(home) = &self.home {
            command.env("PYTHONHOME", home);
        }
        command
    }
}

/// A source file: its path in the image and its bytes.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The absolute path in the image, which goes into the code as `co_filename`.
    pub path: String,
    /// Its bytes.
    pub source: Vec<u8>,
}

/// A running interpreter that compiles groups of files; ends when dropped.
pub struct Compiler {
    program: PathBuf,
    child: Option<Child>,
    input: Option<Box<dyn Write + Send>>,
    output: Box<dyn Read + Send>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compiler({})", self.program.display())
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // The end of its input tells it to go.
        self.input = None;
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

// Not -I: it would ignore PYTHONHOME and the fixed hash seed, which sets in constants depend on before 3.11.
const OPTIONS: [&str; 7] = ["-s", "-S", "-B", "-X", "utf8", "-c", WORKER];
const ENVIRONMENT: [(&str, &str); 1] = [("PYTHONHASHSEED", "0")];

impl Compiler {
    /// Starts an interpreter.
    pub fn start(interpreter: &Interpreter) -> Result<Compiler, BytecodeError> {
        let program = interpreter.program.clone();
        let failed = |source| BytecodeError::Start {
            program: program.clone(),
            source,
        };
        let (session, child) = match &interpreter.launcher {
            Some(launcher) => (launcher.0.launch(&OPTIONS, &ENVIRONMENT).map_err(failed)?, None),
            None => {
                let mut command = interpreter.command();
                command.args(OPTIONS).envs(ENVIRONMENT);
                command
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null());
                let mut child = command.spawn().map_err(failed)?;
                let session = Session {
                    input: Box::new(child.stdin.take().expect("its input was asked for as a pipe")),
                    output: Box::new(child.stdout.take().expect("its output was asked for as a pipe")),
                };
                (session, Some(child))
            }
        };
        let mut compiler = Compiler {
            program,
            child,
            input: Some(session.input),
            output: session.output,
        };
        let mut version = vec![0; compiler.number()?.min(64) as usize];
        compiler.read(&mut version)?;
        let found = String::from_utf8_lossy(&version).into_owned();
        match found == interpreter.version {
            true => Ok(compiler),
            false => Err(BytecodeError::Version {
                wanted: interpreter.version.clone(),
                found,
            }),
        }
    }

    /// Compiles a group in one fresh process; a file that is no valid Python gives nothing.
    ///
    /// The bytes depend on the files of the group and their order, and on nothing else.
    pub fn compile(
        &mut self,
        group: &[SourceFile],
        mode: PycMode,
    ) -> Result<Vec<Option<Vec<u8>>>, BytecodeError> {
        match self.attempt(group, mode)? {
            Some(answers) => Ok(answers),
            // A file took the compiler down with it: find it, keep the rest.
            None if group.len() == 1 => Ok(vec![None]),
            None => {
                let mut answers = Vec::with_capacity(group.len());
                for file in group {
                    let answer = self.attempt(std::slice::from_ref(file), mode)?;
                    answers.push(answer.and_then(|mut answer| answer.pop()).flatten());
                }
                Ok(answers)
            }
        }
    }

    fn attempt(
        &mut self,
        group: &[SourceFile],
        mode: PycMode,
    ) -> Result<Option<Vec<Option<Vec<u8>>>>, BytecodeError> {
        let mut request = vec![0; 4];
        request.extend_from_slice(&(group.len() as u32).to_le_bytes());
        let flags: u32 = match mode {
            PycMode::UncheckedHash => 1,
            PycMode::CheckedHash => 3,
        };
        request.extend_from_slice(&flags.to_le_bytes());
        for file in group {
            request.extend_from_slice(&(file.path.len() as u32).to_le_bytes());
            request.extend_from_slice(&(file.source.len() as u32).to_le_bytes());
            request.extend_from_slice(file.path.as_bytes());
            request.extend_from_slice(&file.source);
        }
        let length = (request.len() - 4) as u32;
        request[..4].copy_from_slice(&length.to_le_bytes());
        let result = match &mut self.input {
            Some(input) => input.write_all(&request).and_then(|()| input.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        result.map_err(|source| BytecodeError::Broken {
            program: self.program.clone(),
            source,
        })?;
        let mut answers = Vec::with_capacity(group.len());
        for _ in group {
            match self.number()? {
                FAILED => answers.push(None),
                CRASHED => return Ok(None),
                length => {
                    let mut code = vec![0; length as usize];
                    self.read(&mut code)?;
                    answers.push(Some(code));
                }
            }
        }
        Ok(Some(answers))
    }

    fn number(&mut self) -> Result<u32, BytecodeError> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), BytecodeError> {
        let program = &self.program;
        self.output
            .read_exact(buffer)
            .map_err(|source| BytecodeError::Broken {
                program: program.clone(),
                source,
            })
    }
}

/// Compiles files, each on its own, so that a file's bytecode depends on that file alone.
///
/// The answers are in the order of `files`; one that is no valid Python has none. At most `threads` interpreters run.
pub fn compile_files(
    interpreter: &Interpreter,
    files: &[SourceFile],
    mode: PycMode,
    threads: usize,
) -> Result<Vec<Option<Vec<u8>>>, BytecodeError> {
    let answers: Mutex<Vec<Option<Vec<u8>>>> = Mutex::new(vec![None; files.len()]);
    let next = AtomicUsize::new(0);
    // An interpreter's start costs as much as some ten files.
    let threads = threads.clamp(1, files.len().div_ceil(8).max(1));
    let work = || -> Result<(), BytecodeError> {
        let mut compiler = None;
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else {
                return Ok(());
            };
            let compiler = match &mut compiler {
                Some(compiler) => compiler,
                none => none.insert(Compiler::start(interpreter)?),
            };
            let answer = compiler
                .compile(std::slice::from_ref(file), mode)?
                .pop()
                .flatten();
            answers
                .lock()
                .expect("no thread panics while it holds the answers")[index] = answer;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let first = work();
        let rest = others
            .into_iter()
            .map(|thread| thread.join().expect("a compiling thread does not panic"));
        rest.fold(first, Result::and)
    })?;
    Ok(answers
        .into_inner()
        .expect("no thread panics while it holds the answers"))
}
