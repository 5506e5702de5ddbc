//! The last steps to a program, for a container's first process and for commands run in it later: standard
//! descriptors, limits, identity, confinement, look-up and exec.

use crate::capabilities::{self, CapabilitySet};
use crate::child_init;
use crate::failure::{Failure, Stage, error_text};
use crate::spec::{Rlimit, User};
use coil_sys::privilege::{self, Instruction};
use coil_sys::process::ExecStrings;
use coil_sys::{event, file, process, terminal};
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the program's standard descriptors will be.
#[derive(Debug)]
pub(crate) enum Standard {
    /// Pipes; no input when there is none.
    Pipes {
        input: Option<OwnedFd>,
        output: OwnedFd,
        errors: OwnedFd,
    },
    /// One terminal for all three.
    Terminal(OwnedFd),
    /// Those that this process has.
    Inherited,
}

impl Standard {
    pub(crate) fn terminal(&self) -> Option<&OwnedFd> {
        match self {
            Standard::Terminal(terminal) => Some(terminal),
            _ => None,
        }
    }

    /// Puts them in place and marks everything else close-on-exec.
    pub(crate) fn install(&self, null: &OwnedFd, user: &User) -> Result<(), Failure> {
        let install = || -> io::Result<()> {
            match self {
                Standard::Pipes {
                    input,
                    output,
                    errors,
                } => {
                    file::duplicate_onto(input.as_ref().unwrap_or(null), 0)?;
                    file::duplicate_onto(output, 1)?;
                    file::duplicate_onto(errors, 2)?;
                    // So that a program may open /dev/stdout again, whoever runs it.
                    for pipe in input.iter().chain([output, errors]) {
                        let _ = file::change_owner(pipe, user.uid, user.gid);
                    }
                }
                Standard::Terminal(slave) => {
                    for target in 0..3 {
                        file::duplicate_onto(slave, target)?;
                    }
                    let _ = file::change_owner(slave, user.uid, u32::MAX);
                    terminal::make_controlling(slave)?;
                }
                Standard::Inherited => {}
            }
            file::close_on_exec_from(3)
        };
        install().stage("init", "standard input and output")
    }
}

/// Who the program runs as and what it may do.
pub(crate) struct Confinement<'a> {
    pub user: &'a User,
    /// False in a user namespace that an ordinary user made.
    pub may_set_groups: bool,
    pub capabilities: CapabilitySet,
    pub filter: Option<&'a [Instruction]>,
    pub no_new_privileges: bool,
    pub rlimits: &'a [Rlimit],
    /// The reading end of a pipe of the monitor's: when it is closed the monitor is gone, and so must this process be.
    pub guard: Option<&'a OwnedFd>,
    /// Whether the process is killed when its parent ends.
    pub ends_with_parent: bool,
    /// Whether this process stays as the container's init, and the program becomes its child.
    pub init: bool,
}

impl Confinement<'_> {
    /// Gives up what the program must not have, and becomes it.
    pub(crate) fn run(&self, args: &[String], env: &[String]) -> Result<Infallible, Failure> {
        let stage = "confinement";
        for limit in self.rlimits {
            set_limit(limit)?;
        }
        if self.may_set_groups {
            process::set_groups(&self.user.groups).stage(stage, "cannot set the groups")?;
        }
        privilege::keep_capabilities().stage(stage, "capabilities")?;
        let unmapped = |kind: &str, id: u32| match self.may_set_groups {
            true => format!("cannot become {kind} {id}"),
            false => format!(
                "cannot become {kind} {id} (without /etc/subuid and newuidmap there is one user alone inside)"
            ),
        };
        process::set_gid(self.user.gid).stage(stage, unmapped("group", self.user.gid))?;
        process::set_uid(self.user.uid).stage(stage, unmapped("user", self.user.uid))?;
        if self.no_new_privileges {
            process::set_no_new_privileges().stage(stage, "no-new-privileges")?;
        }
        event::reset_signals().stage(stage, "signals")?;
        // Only now: a change of user takes it back.
        if let Some(guard) = self.guard {
            process::set_parent_death_signal(libc::SIGKILL).stage(stage, "death signal")?;
            file::set_nonblocking(guard, true).stage(stage, "the monitor")?;
            if file::read(guard, &mut [0]).is_ok_and(|read| read == 0) {
                process::exit_now(125);
            }
        }
        capabilities::confine(self.capabilities, self.filter).stage(stage, "cannot give up privileges")?;
        if self.ends_with_parent {
            // Giving up capabilities may take it back as well.
            process::set_parent_death_signal(libc::SIGKILL).stage(stage, "death signal")?;
        }
        if self.init {
            child_init::stay()?;
        }
        let name = args.first().map(String::as_str).unwrap_or_default();
        let path = find(name, env)?;
        let strings =
            |list: &[String]| ExecStrings::new(list).stage("exec", format_args!("exec: \"{name}\""));
        let error = process::exec(&path, &strings(args)?, &strings(env)?);
        Err(exec_failure(name, &path, &error))
    }
}

/// What a failed exec means.
fn exec_failure(name: &str, path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new("exec", format_args!("exec {}", path.display()), error);
    match error.raw_os_error() {
        // The file is there, so what is missing is the interpreter or loader that it names.
        Some(libc::ENOENT) => Failure {
            message: format!(
                "exec {}: no such file or directory (its interpreter or loader is missing)",
                path.display()
            ),
            ..failure
        }
        .with_exit_code(127),
        Some(libc::ENOEXEC) => failure.with_exit_code(126),
        Some(libc::EACCES | libc::EPERM | libc::EISDIR) => Failure {
            message: format!("exec: \"{name}\": {}", error_text(error)),
            ..failure
        }
        .with_exit_code(126),
        _ => failure.with_exit_code(126),
    }
}

/// Finds a program as a shell does, with the messages that users of other engines know.
fn find(name: &str, env: &[String]) -> Result<PathBuf, Failure> {
    let fail = |text: String, errno: i32, exit_code: i32| Failure {
        stage: "exec".to_owned(),
        message: format!("exec: \"{name}\": {text}"),
        errno,
        exit_code,
    };
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default();
                Err(match errno {
                    libc::ENOENT => fail(format!("stat {name}: no such file or directory"), errno, 127),
                    _ => fail(error_text(&error), errno, 126),
                })
            }
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|pair| pair.strip_prefix("PATH="))
        .unwrap_or_default();
    let found = path
        .split(':')
        .map(|d| Path::new(if d.is_empty() { "." } else { d }).join(name));
    found
        .into_iter()
        .find(|candidate| !name.is_empty() && executable(candidate).is_ok())
        .ok_or_else(|| fail("executable file not found in $PATH".to_owned(), libc::ENOENT, 127))
}

fn executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    file::may_execute(path)
}

const LIMITS: [(&str, u32); 15] = [
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// Sets a limit; where this process may not raise it (no CAP_SYS_RESOURCE) it goes as far as it may.
fn set_limit(limit: &Rlimit) -> Result<(), Failure> {
    let what = || format!("cannot set the limit {}", limit.name);
    let Some((_, resource)) = LIMITS.iter().find(|(name, _)| *name == limit.name) else {
        return Err(Failure::refused(
            "limits",
            format_args!("there is no limit called `{}`", limit.name),
        ));
    };
    match process::set_limit(*resource, limit.soft, limit.hard) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            let (_, most) = process::limit(*resource).stage("limits", what())?;
            let hard = limit.hard.min(most);
            process::set_limit(*resource, limit.soft.min(hard), hard).stage("limits", what())
        }
        other => other.stage("limits", what()),
    }
}
