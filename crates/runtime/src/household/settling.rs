//! Entering the household's user namespace with a whole command, so that all its work on trees is done inside.

use super::{FOLDER, Facts, Origin, STAGE, facts, found, locked, standing};
use crate::control::Client;
use crate::failure::{Failure, Stage};
use crate::spec::IdMap;
use crate::{state, user_namespace};
use coil_sys::{file, process};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where a command is after [`settle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Root of the household's user namespace, which has these ids.
    Inside(IdMap),
    /// Where it was, because a household with one id stands.
    OneRuns,
    /// Where it was: no household stands, and no ids were asked for.
    Outside,
}

/// Whether this process is in the user namespace of the household of a run root.
pub fn is_inside(run_root: &Path) -> bool {
    let inside = |facts: Facts| user_namespace::is_own(&facts.namespace("user")).unwrap_or(false);
    facts(run_root).is_some_and(inside)
}

/// Enters the user namespace of a run root's household for the rest of this process, which must have one thread.
///
/// The household's ids are those that it was founded with, as long as it stands. Where none stands it is founded with
/// the ids of `wish`.
///
/// # Errors
/// When the kernel or the programs that map ids refuse; this process is where it was then.
pub fn settle(run_root: &Path, wish: Option<&IdMap>) -> Result<Settled, Failure> {
    if wish.is_none() && !run_root.join(FOLDER).exists() {
        return Ok(Settled::Outside);
    }
    let (folder, lock) = locked(run_root)?;
    let (user, facts) = match standing(run_root)? {
        Some((_, facts)) if facts.map.is_one() => return Ok(Settled::OneRuns),
        Some(standing) => standing,
        None => match (survivor(run_root), wish) {
            (Some((ids, map)), _) => {
                join(&ids)?;
                found(&folder, &map, Origin::Here)?
            }
            (None, Some(map)) => found(&folder, map, Origin::New)?,
            (None, None) => return Ok(Settled::Outside),
        },
    };
    let ids = facts.namespace("user");
    let what = format!("cannot join {}", ids.display());
    if !user_namespace::is_own(&ids).stage(STAGE, &what)? {
        join(&File::open(&ids).stage(STAGE, &what)?.into())?;
    }
    drop(lock);
    // The household stands as long as this process.
    file::leak(user);
    Ok(Settled::Inside(facts.map))
}

fn join(ids: &OwnedFd) -> Result<(), Failure> {
    process::setns(ids, libc::CLONE_NEWUSER).stage(STAGE, "cannot join the user namespace")
}

/// The user namespace of a container whose keeper was killed.
fn survivor(run_root: &Path) -> Option<(OwnedFd, IdMap)> {
    let entries = fs::read_dir(run_root).ok()?;
    entries.flatten().find_map(|entry| {
        let run_dir = entry.path();
        let monitor = Client::connect(&run_dir).ok()?.monitor().ok()?;
        let process = PathBuf::from(format!("/proc/{monitor}"));
        let ids = File::open(process.join("ns/user")).ok()?;
        let map = IdMap::of_process(&process).ok()?;
        // While it lives its number is its own. An id alone is nobody's household.
        let is_one = map.uids.len() < 2 || map.root_is().is_none();
        (state::is_alive(&run_dir) && !is_one).then(|| (ids.into(), map))
    })
}
