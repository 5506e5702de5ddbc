//! Which ids an ordinary user's containers have, and entering the user namespace that has them.

use std::fmt;
use std::path::Path;

use coil_runtime::spec::IdMap;
use coil_runtime::{Settled, is_inside, settle, subordinate_ids};

pub use coil_runtime::subordinate_ids::Lack;

use crate::UserIds;

/// The machine's user and group that this process stands for: its own, or who founded the user namespace that it is root of.
///
/// `run_root_of` gives the folder of live state of such a user.
pub fn host_ids(own: (u32, u32), run_root_of: impl FnOnce(u32) -> Option<std::path::PathBuf>) -> (u32, u32) {
    if own.0 != 0 {
        return own;
    }
    let map = IdMap::of_process(Path::new("/proc/self")).unwrap_or_default();
    match map.root_is() {
        Some(ids) if run_root_of(ids.0).is_some_and(|run_root| is_inside(&run_root)) => ids,
        _ => own,
    }
}

/// Gives this process, which must have one thread, all ids of a user, for good; gives those that it has then.
///
/// `name` is what the user calls itself. Nothing fails here: what is lacking is told with the one id that there is.
pub fn enter(run_root: &Path, (uid, gid): (u32, u32), name: Option<&str>) -> (UserIds, Option<Lack>) {
    if uid == 0 {
        return (UserIds::Host, None);
    }
    let wish = subordinate_ids::full_map(uid, gid, name);
    let lack = match settle(run_root, wish.as_ref().ok()) {
        Ok(Settled::Inside(map)) => return (UserIds::Mapped(map), None),
        Ok(Settled::OneRuns) if wish.is_ok() => Lack::Running,
        Ok(_) => match wish {
            Err(lack) => lack,
            Ok(_) => Lack::Running,
        },
        Err(failure) => Lack::Refused(failure.to_string()),
    };
    (UserIds::One(Some(lack.notice())), Some(lack))
}

impl fmt::Display for UserIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserIds::Host => f.write_str("the machine's"),
            UserIds::Mapped(map) => fmt::Display::fmt(map, f),
            UserIds::One(_) => f.write_str("one"),
        }
    }
}
