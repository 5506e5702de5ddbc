//! Which ids an ordinary user's containers may have: the ranges of `/etc/subuid` and `/etc/subgid` (subuid(5)).

use crate::failure::error_text;
use crate::spec::{IdMap, IdRange};
use crate::user_namespace::{self, mapper};
use coil_sys::file;
use std::process::{Command, Stdio};
use std::{fmt, fs, io};

/// The files that hand out ranges.
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// More lines than a kernel takes for a map.
const MOST_RANGES: usize = 339;

/// Why there is one id alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// A program that maps ids isn't installed.
    Program(&'static str),
    /// A file gives the user no range.
    Range {
        /// The file.
        file: &'static str,
        /// The user, by name where there is one.
        user: String,
    },
    /// What the programs or the kernel answered.
    Refused(String),
    /// Containers run that were started with one id.
    Running,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Program(name) => write!(f, "{name} is not installed"),
            Lack::Range { file, user } => write!(f, "{file} has no range for {user}"),
            Lack::Refused(said) => f.write_str(said),
            Lack::Running => f.write_str("containers of this user run that were started with one id"),
        }
    }
}

impl Lack {
    /// What the user can do.
    pub fn help(&self) -> String {
        match self {
            Lack::Program(_) => "install the package uidmap (shadow-utils on other systems)".to_owned(),
            Lack::Range { user, .. } => format!(
                "as root, run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}` with a range that no \
                 other user has"
            ),
            Lack::Refused(_) => {
                "see `coil doctor`, and that newuidmap and newgidmap are set-user-id root".to_owned()
            }
            Lack::Running => "stop them".to_owned(),
        }
    }

    /// What is less with one id, why, and what to do: told once.
    pub fn notice(&self) -> String {
        format!(
            "containers of this user have one id, so what changes users or owners (apt-get, useradd, databases) fails there: {self}; {}",
            self.help()
        )
    }
}

/// The map that gives a user's containers all ids: root is the user, the others are its ranges.
///
/// `name` is what the user calls itself, where `/etc/passwd` doesn't know it.
///
/// # Errors
/// What is lacking. The programs may yet refuse.
pub fn full_map(uid: u32, gid: u32, name: Option<&str>) -> Result<IdMap, Lack> {
    for program in ["newuidmap", "newgidmap"] {
        if mapper(program).is_none() {
            return Err(Lack::Program(program));
        }
    }
    let known = fs::read_to_string("/etc/passwd")
        .ok()
        .and_then(|text| name_of(&text, uid));
    let name = known.as_deref().or(name);
    let [users, groups] = FILES.map(|file| {
        let found = subordinate(&fs::read_to_string(file).unwrap_or_default(), uid, name);
        match found.is_empty() {
            true => Err(Lack::Range {
                file,
                user: name.map_or_else(|| uid.to_string(), str::to_owned),
            }),
            false => Ok(found),
        }
    });
    Ok(IdMap {
        uids: stacked(uid, &users?),
        gids: stacked(gid, &groups?),
    })
}

/// Tries a map, in a process of its own.
///
/// # Errors
/// What refuses it.
pub fn attempt(map: &IdMap) -> Result<(), Lack> {
    let refused = |error: io::Error| Lack::Refused(error_text(&error));
    let text = serde_json::to_string(map).map_err(|error| refused(error.into()))?;
    let tried = Command::new("/proc/self/exe")
        .args(["internal", "try-ids", &text])
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(refused)?;
    match tried.status.success() {
        true => Ok(()),
        false => Err(Lack::Refused(String::from_utf8_lossy(&tried.stdout).into_owned())),
    }
}

/// `coil internal try-ids MAP`: standard output says what fails.
pub fn attempt_main(args: &[String]) -> i32 {
    let map = args.first().and_then(|text| serde_json::from_str(text).ok());
    let Some(Err(failure)) = map.map(|map| user_namespace::make(&map)) else {
        return 0;
    };
    if let Some(output) = file::standard(1) {
        // The end alone tells that it failed, too.
        let _ = file::write(output, failure.message.as_bytes());
    }
    failure.exit_code
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The ranges of a user, by number or name: first id and count.
fn subordinate(text: &str, uid: u32, name: Option<&str>) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let range = |line: &str| -> Option<(u32, u32)> {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == number || Some(owner) == name).then_some(range)
    };
    let mut found: Vec<(u32, u32)> = text
        .lines()
        .filter_map(range)
        .filter(|(first, count)| *first > 0 && *count > 0 && first.checked_add(*count).is_some())
        .collect();
    let mut seen = Vec::new();
    found.retain(|range| {
        !seen.contains(range) && {
            seen.push(*range);
            true
        }
    });
    found.truncate(MOST_RANGES);
    found
}

/// Root first, then the ranges, one upon the other.
fn stacked(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange {
        inside: 0,
        host: own,
        count: 1,
    }];
    let mut inside = 1u32;
    for &(host, count) in ranges {
        let count = count.min(u32::MAX - inside);
        map.push(IdRange { inside, host, count });
        inside += count;
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBUID: &str =
        "other:100000:65536\nann:165536:65536\n1000:300000:10\nann:165536:65536\nann:x:1\nann:5:0\n";

    #[test]
    fn a_user_has_ranges_by_name_and_number() {
        assert_eq!(
            subordinate(SUBUID, 1000, Some("ann")),
            [(165_536, 65_536), (300_000, 10)]
        );
        assert_eq!(subordinate(SUBUID, 1000, None), [(300_000, 10)]);
        assert!(subordinate(SUBUID, 7, Some("nobody")).is_empty());
        assert_eq!(
            name_of("root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:\n", 1000).as_deref(),
            Some("ann")
        );
    }

    #[test]
    fn ranges_stand_one_upon_the_other() {
        let map = stacked(1000, &[(165_536, 65_536), (300_000, 10)]);
        let numbers: Vec<_> = map.iter().map(|r| (r.inside, r.host, r.count)).collect();
        assert_eq!(
            numbers,
            [(0, 1000, 1), (1, 165_536, 65_536), (65_537, 300_000, 10)]
        );
    }
}
