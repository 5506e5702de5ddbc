//! Which host ids the ids of a user namespace are.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::Path;

/// Which host ids the ids inside are; empty means that they are the same and no user namespace is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// User ids.
    pub uids: Vec<IdRange>,
    /// Group ids.
    pub gids: Vec<IdRange>,
}

impl IdMap {
    /// One user and one group alone: what an ordinary user may have without help.
    pub fn one(inside_uid: u32, inside_gid: u32, host_uid: u32, host_gid: u32) -> Self {
        let range = |inside, host| {
            vec![IdRange {
                inside,
                host,
                count: 1,
            }]
        };
        Self {
            uids: range(inside_uid, host_uid),
            gids: range(inside_gid, host_gid),
        }
    }

    /// Whether one user and one group are all that there is.
    pub fn is_one(&self) -> bool {
        let one = |ranges: &[IdRange]| ranges.len() == 1 && ranges[0].count == 1;
        one(&self.uids) && one(&self.gids)
    }

    /// Whether groups may be set: not where a user has taken one id without anybody's leave.
    pub fn may_set_groups(&self) -> bool {
        !self.is_one()
    }

    /// The map of the user namespace of a process, by its folder in `/proc`, with ids as they are in that of the reader; empty
    /// where all ids are the host's.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn of_process(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| ranges(&text));
        Ok(Self {
            uids: read("uid_map")?,
            gids: read("gid_map")?,
        })
    }

    /// The host's user and group that root inside is; none where root is root, or there is none.
    pub fn root_is(&self) -> Option<(u32, u32)> {
        let root = |ranges: &[IdRange]| ranges.iter().find(|range| range.inside == 0).cloned();
        let (user, group) = (root(&self.uids)?, root(&self.gids)?);
        (user.host != 0 && user.count == 1).then_some((user.host, group.host))
    }

    /// The highest id that, with all below it, is both a user and a group.
    pub fn highest(&self) -> u32 {
        let reach = |ranges: &[IdRange]| {
            let mut next = 0;
            // Ranges may stand in any order.
            while let Some(range) = ranges.iter().find(|range| range.has(next)) {
                let Some(end) = range.inside.checked_add(range.count) else {
                    return u32::MAX;
                };
                next = end;
            }
            next
        };
        reach(&self.uids).min(reach(&self.gids)).saturating_sub(1)
    }

    /// A short name for what the map makes of the disk: maps with the same name give files the same owners.
    pub fn key(&self) -> String {
        let words = |ranges: &[IdRange]| {
            let words = ranges
                .iter()
                .map(|range| format!("{}.{}.{}", range.inside, range.host, range.count));
            words.collect::<Vec<_>>().join("_")
        };
        match self.uids == self.gids {
            true => words(&self.uids),
            false => format!("{}-{}", words(&self.uids), words(&self.gids)),
        }
    }

    /// Whether ids are the host's.
    pub fn is_identity(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Whether an id inside stands for any host user.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.uids.is_empty() || self.uids.iter().any(|range| range.has(uid))
    }

    /// Whether an id inside stands for any host group.
    pub fn has_gid(&self, gid: u32) -> bool {
        self.gids.is_empty() || self.gids.iter().any(|range| range.has(gid))
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.highest() {
            0 => f.write_str("0"),
            highest => write!(f, "0 to {highest}"),
        }
    }
}

/// The lines of a map (user_namespaces(7)); none where it says that all ids are the host's.
fn ranges(text: &str) -> Vec<IdRange> {
    let numbers = |line: &str| -> Option<IdRange> {
        let mut words = line.split_ascii_whitespace().map(str::parse);
        Some(IdRange {
            inside: words.next()?.ok()?,
            host: words.next()?.ok()?,
            count: words.next()?.ok()?,
        })
    };
    let found: Vec<IdRange> = text.lines().filter_map(numbers).collect();
    match found.as_slice() {
        [all] if all.inside == 0 && all.host == 0 && all.count == u32::MAX => Vec::new(),
        _ => found,
    }
}

/// A run of ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub inside: u32,
    /// First id on the host.
    pub host: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    fn has(&self, id: u32) -> bool {
        id.checked_sub(self.inside)
            .is_some_and(|offset| offset < self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_map_is_read() {
        assert!(ranges("         0          0 4294967295\n").is_empty());
        let read = ranges("         0       1000          1\n         1     100000      65536\n");
        let map = IdMap {
            uids: read.clone(),
            gids: read,
        };
        assert_eq!(map.root_is(), Some((1000, 1000)));
        assert_eq!(map.highest(), 65536);
        assert_eq!(map.key(), "0.1000.1_1.100000.65536");
        assert_eq!(map.to_string(), "0 to 65536");
        assert!(map.has_uid(999) && !map.has_uid(70_000));
        assert_eq!(IdMap::one(0, 0, 7, 8).root_is(), Some((7, 8)));
        assert_eq!(IdMap::one(0, 0, 7, 8).highest(), 0);
        assert_eq!(IdMap::default().root_is(), None);
    }
}
