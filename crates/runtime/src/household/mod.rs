//! The household of an ordinary user: one user namespace and one network namespace for the containers of a run root,
//! in which bridges, addresses and rules are made as root makes them on the machine.
//!
//! A keeper (`coil internal household`) makes both and stays while anybody has the writing end of a FIFO open, which
//! every monitor does. Who joins holds `lock`; so does the keeper when it goes, so that nobody joins what is going.
//! `keeper.json` says who the keeper is.
//!
//! Where the user has a range of ids, every command that looks into trees enters the user namespace when it begins
//! ([`settle`]), and all that it starts is inside. Where there is one id, monitors alone enter.

mod keeper;
mod outside;
mod settling;

pub use keeper::keeper_main;
pub use settling::{Settled, is_inside, settle};

use crate::failure::{Failure, Stage};
use crate::spec::IdMap;
use crate::user_namespace;
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
    /// What the user should know of its ids, once.
    #[serde(default)]
    pub notice: Option<String>,
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
    /// Whether packets find a way out by themselves; not known before the first container needs it.
    pub(crate) connected: Option<bool>,
}

impl Facts {
    fn namespace(&self, kind: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{kind}", self.pid))
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        let (path, part) = (folder.join(KEEPER), folder.join("keeper.part"));
        let bytes = serde_json::to_vec(self).map_err(|error| Failure::refused(STAGE, error))?;
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, &path))
            .stage(STAGE, format_args!("cannot write {}", path.display()))
    }
}

/// A place in a household: it stands while this is held.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The writing end of the FIFO.
    user: OwnedFd,
    /// The network namespace, for who joins that too.
    net: Option<OwnedFd>,
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

/// The household's folder, and its lock, held.
fn locked(run_root: &Path) -> Result<(PathBuf, File), Failure> {
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
    Ok((folder, lock))
}

/// Enters the household of a run root, made when there is none; this process is root of its user namespace then, in a
/// mount namespace of its own, and still in the host's network. With `network` that of the household is connected to the
/// outside, for who joins it.
///
/// Gives besides what the user should know, when it was made or connected just now.
pub(crate) fn enter(
    run_root: &Path,
    spec: &HouseholdSpec,
    network: bool,
) -> Result<(Membership, Vec<String>), Failure> {
    let (folder, lock) = locked(run_root)?;
    let (user, mut facts, mut notices) = match standing(run_root)? {
        Some((user, facts)) => (user, facts, Vec::new()),
        None => {
            let origin = match spec.map.is_one() {
                true => Origin::New,
                false => Origin::Here,
            };
            let (user, facts) = found(&folder, &spec.map, origin)?;
            (user, facts, spec.notice.iter().cloned().collect())
        }
    };
    if facts.map != spec.map {
        return Err(Failure::refused(
            STAGE,
            "the containers of this user that run have other ids than those in /etc/subuid and /etc/subgid now; \
             stop them first",
        ));
    }
    let ids = facts.namespace("user");
    let what = format!("cannot join {}", ids.display());
    let inside = user_namespace::is_own(&ids).stage(STAGE, &what)?;
    if network && facts.connected.is_none() {
        let (connected, notice) = connect(&folder, spec, facts.pid, inside);
        facts.connected = Some(connected);
        facts.write(&folder)?;
        notices.extend(notice);
    }
    let open = |path: &Path| {
        let opened = File::open(path).map(OwnedFd::from);
        opened.stage(STAGE, format_args!("cannot join {}", path.display()))
    };
    let net = network.then(|| open(&facts.namespace("net"))).transpose()?;
    if !inside {
        process::setns(open(&ids)?, libc::CLONE_NEWUSER).stage(STAGE, "cannot join the user namespace")?;
    }
    drop(lock);
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

/// Where the user namespace of a new household comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The keeper makes it.
    New,
    /// It is this process's own: that of an earlier keeper which was killed.
    Here,
}

/// The word by which a keeper knows [`Origin::Here`].
const HERE: &str = "--here";

/// Starts a keeper.
fn found(folder: &Path, map: &IdMap, origin: Origin) -> Result<(OwnedFd, Facts), Failure> {
    if let Some(killed) = read_facts(folder) {
        outside::disconnect(folder, killed.pid);
    }
    let path = folder.join(USERS);
    let what = format!("cannot make {}", path.display());
    let _ = fs::remove_file(&path);
    file::mknod_at(file::here(), &path, libc::S_IFIFO | 0o600, 0, 0).stage(STAGE, &what)?;
    let users = open_end(&path, false).stage(STAGE, &what)?;
    let user = open_end(&path, true).stage(STAGE, &what)?;
    let text = serde_json::to_string(map).map_err(|error| Failure::refused(STAGE, error))?;
    let mut keeper = Command::new("/proc/self/exe")
        .arg0("coil")
        .args(["internal", "household"])
        .arg(folder)
        .arg(text)
        .args((origin == Origin::Here).then_some(HERE))
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
    let facts = Facts {
        pid: i32::try_from(keeper.id()).unwrap_or(0),
        map: map.clone(),
        relay,
        connected: None,
    };
    facts.write(folder)?;
    Ok((user, facts))
}

/// Connects a household to the outside, if a program can; gives whether one does, and what the user should know.
fn connect(folder: &Path, spec: &HouseholdSpec, keeper: i32, inside: bool) -> (bool, Option<String>) {
    let mut failure = None;
    let mut installed = spec.connectors.iter().filter(|program| program.exists());
    let connected = installed.any(
        |program| match outside::connect(program, folder, keeper, inside) {
            Ok(()) => true,
            Err(said) => {
                failure = Some(said);
                false
            }
        },
    );
    let less = (!connected).then(|| outside::less(failure.as_deref()));
    (connected, less)
}

impl Membership {
    /// As words for this program run again, which it is to keep over exec.
    pub(crate) fn to_argument(&self) -> std::io::Result<String> {
        let kept = |fd: &OwnedFd| file::set_close_on_exec(fd.as_raw_fd(), false).map(|()| fd.as_raw_fd());
        let user = kept(&self.user)?;
        Ok(match &self.net {
            Some(net) => format!("--household={user},{}", kept(net)?),
            None => format!("--household={user}"),
        })
    }

    /// From such words.
    pub(crate) fn from_argument(text: &str) -> Option<Self> {
        let mut numbers = text.strip_prefix("--household=")?.split(',');
        let take = |number: &str| -> Option<OwnedFd> { file::inherited(number.parse().ok()?).ok() };
        let user = take(numbers.next()?)?;
        let net = match numbers.next() {
            Some(number) => Some(take(number)?),
            None => None,
        };
        Some(Self { user, net })
    }

    /// The household's network, where it is to be joined.
    pub(crate) fn network(&self) -> Option<&OwnedFd> {
        self.net.as_ref()
    }
}
