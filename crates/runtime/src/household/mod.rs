//! The household of an ordinary user: one user namespace and one network namespace for the containers of a run root,
//! in which bridges, addresses and rules are made as root makes them on the machine.
//!
//! A keeper (`coil internal household`) makes both and stays while anybody has the writing end of a FIFO open, which
//! every monitor does. Who joins holds `lock`; so does the keeper when it goes, so that nobody joins what is going.
//! `keeper.json` says who the keeper is.

mod keeper;
mod outside;

pub use keeper::keeper_main;

use crate::failure::{Failure, Stage};
use crate::spec::IdMap;
use coil_sys::{file, process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const STAGE: &str = "user networks";

/// Its folder below the run root.
const FOLDER: &str = "household";
const LOCK: &str = "lock";
const USERS: &str = "users";
const KEEPER: &str = "keeper.json";

/// How containers in a household reach other machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HouseholdSpec {
    /// The ids of its user namespace, as seen from the host.
    pub map: IdMap,
    /// The programs that may connect the namespace to the outside; the first that is there and works is used, and a relay
    /// of our own where none is.
    #[serde(default)]
    pub connectors: Vec<PathBuf>,
}

/// What is known of a household that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The keeper.
    pid: i32,
    /// Its map of ids, as seen from the host.
    map: IdMap,
    /// The port of the relay in the household's network.
    pub(crate) relay: u16,
    /// Whether packets find a way out by themselves.
    pub(crate) connected: bool,
}

/// A place in a household: it stands while this is held.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The writing end of the FIFO.
    user: OwnedFd,
    /// The network namespace.
    net: OwnedFd,
}

/// What the keeper says when it stands.
type Word = Result<u16, Failure>;

/// Reads what is known of the household of a run root, if there is one.
pub(crate) fn facts(run_root: &Path) -> Option<Facts> {
    read_facts(&run_root.join(FOLDER))
}

fn read_facts(folder: &Path) -> Option<Facts> {
    let bytes = fs::read(folder.join(KEEPER)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Enters the household of a run root, made when there is none; this process is root of its user namespace then, in a
/// mount namespace of its own, and still in the host's network.
///
/// Gives besides what the user should know, when it was made just now.
pub(crate) fn enter(run_root: &Path, spec: &HouseholdSpec) -> Result<(Membership, Vec<String>), Failure> {
    let folder = run_root.join(FOLDER);
    let at = |path: &Path| format!("cannot use {}", path.display());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .stage(STAGE, at(&folder))?;
    let path = folder.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .stage(STAGE, at(&path))?;
    lock.lock().stage(STAGE, at(&path))?;
    let (user, facts, notices) = match standing(run_root)? {
        Some((user, facts)) => (user, facts, Vec::new()),
        None => found(&folder, spec)?,
    };
    if facts.map != spec.map {
        return Err(Failure::refused(
            STAGE,
            "the containers of this user that run have other ids than those in /etc/subuid and /etc/subgid now; \
             stop them first",
        ));
    }
    let namespace = |kind: &str| {
        let path = PathBuf::from(format!("/proc/{}/ns/{kind}", facts.pid));
        File::open(&path)
            .map(OwnedFd::from)
            .stage(STAGE, format_args!("cannot join {}", path.display()))
    };
    let (ids, net) = (namespace("user")?, namespace("net")?);
    drop(lock);
    process::setns(&ids, libc::CLONE_NEWUSER).stage(STAGE, "cannot join the user namespace")?;
    process::unshare(libc::CLONE_NEWNS).stage(STAGE, "cannot make a mount namespace")?;
    Ok((Membership { user, net }, notices))
}

/// A FIFO's end, which waits for nobody.
fn open_end(path: &Path, write: bool) -> std::io::Result<OwnedFd> {
    let mut options = File::options();
    options.read(!write).write(write).custom_flags(libc::O_NONBLOCK);
    options.open(path).map(OwnedFd::from)
}

/// The household that stands, whose keeper will stay for us.
fn standing(run_root: &Path) -> Result<Option<(OwnedFd, Facts)>, Failure> {
    let path = run_root.join(FOLDER).join(USERS);
    match open_end(&path, true) {
        Ok(user) => Ok(facts(run_root).map(|facts| (user, facts))),
        // Nobody reads: the keeper was killed, or never was.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOENT)) => Ok(None),
        Err(error) => Err(Failure::new(
            STAGE,
            format_args!("cannot open {}", path.display()),
            &error,
        )),
    }
}

/// Starts a keeper, and connects what it keeps to the outside.
fn found(folder: &Path, spec: &HouseholdSpec) -> Result<(OwnedFd, Facts, Vec<String>), Failure> {
    if let Some(killed) = read_facts(folder) {
        outside::disconnect(folder, killed.pid);
    }
    let path = folder.join(USERS);
    let what = format!("cannot make {}", path.display());
    let _ = fs::remove_file(&path);
    file::mknod_at(file::here(), &path, libc::S_IFIFO | 0o600, 0, 0).stage(STAGE, &what)?;
    let users = open_end(&path, false).stage(STAGE, &what)?;
    let user = open_end(&path, true).stage(STAGE, &what)?;
    let text = serde_json::to_string(&spec.map).map_err(|error| Failure::refused(STAGE, error))?;
    let mut keeper = Command::new("/proc/self/exe")
        .arg0("coil")
        .args(["internal", "household"])
        .arg(folder)
        .arg(text)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(users))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .stage(STAGE, "cannot run coil again")?;
    let mut word = Vec::new();
    if let Some(output) = &mut keeper.stdout {
        output.read_to_end(&mut word).stage(STAGE, "the keeper")?;
    }
    let word: Word = serde_json::from_slice(&word)
        .unwrap_or_else(|_| Err(Failure::refused(STAGE, "the keeper ended without a word")));
    let relay = word.inspect_err(|_| {
        // It is gone; only its number waits for us.
        let _ = keeper.wait();
    })?;
    let pid = i32::try_from(keeper.id()).unwrap_or(0);
    let mut failure = None;
    let mut installed = spec.connectors.iter().filter(|program| program.exists());
    let connected = installed.any(|program| match outside::connect(program, folder, pid) {
        Ok(()) => true,
        Err(said) => {
            failure = Some(said);
            false
        }
    });
    let facts = Facts {
        pid,
        map: spec.map.clone(),
        relay,
        connected,
    };
    let path = folder.join(KEEPER);
    let part = folder.join("keeper.part");
    let bytes = serde_json::to_vec(&facts).map_err(|error| Failure::refused(STAGE, error))?;
    fs::write(&part, bytes)
        .and_then(|()| fs::rename(&part, &path))
        .stage(STAGE, format_args!("cannot write {}", path.display()))?;
    let notices = match connected {
        true => Vec::new(),
        false => vec![outside::less(failure.as_deref())],
    };
    Ok((user, facts, notices))
}

impl Membership {
    /// As words for this program run again, which it is to keep over exec.
    pub(crate) fn to_argument(&self) -> std::io::Result<String> {
        for fd in [&self.user, &self.net] {
            file::set_close_on_exec(fd.as_raw_fd(), false)?;
        }
        Ok(format!(
            "--household={},{}",
            self.user.as_raw_fd(),
            self.net.as_raw_fd()
        ))
    }

    /// From such words.
    pub(crate) fn from_argument(text: &str) -> Option<Self> {
        let (user, net) = text.strip_prefix("--household=")?.split_once(',')?;
        let take = |number: &str| -> Option<OwnedFd> { file::inherited(number.parse().ok()?).ok() };
        Some(Self {
            user: take(user)?,
            net: take(net)?,
        })
    }

    /// Joins the household's network.
    pub(crate) fn join_network(&self) -> std::io::Result<()> {
        process::setns(&self.net, libc::CLONE_NEWNET)
    }
}
