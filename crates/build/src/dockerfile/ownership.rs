//! `--chown` and `--chmod`.

use std::io;

use super::tree::Tree;

/// Most bytes of a file that tells users: a huge one is an attack.
const LARGEST: u64 = 4 << 20;

/// Why an owner can't be told.
#[derive(Debug)]
pub(crate) enum OwnerError {
    /// The stage is empty, and so knows no name.
    Empty(String),
    /// Its files can't be read.
    Io(io::Error),
}

/// A number as it counts: `root` is one, and what is larger than a signed one of 32 bits is a name.
fn number(text: &str) -> Option<u32> {
    match text {
        "root" => Some(0),
        // A negative one changes nothing, and what is copied is root's.
        text => text
            .parse::<i32>()
            .ok()
            .map(|number| number.max(0).cast_unsigned()),
    }
}

/// The numbers of `USER[:GROUP]`, names by the stage's own files. A number is never looked up as a name.
///
/// A user by number has the group of the same number; one by name the group that the file tells. As in BuildKit, a name that a
/// stage with files does not know is root, and in one without files it is an error.
pub(crate) fn owner(spec: &str, tree: &Tree) -> Result<(u32, u32), OwnerError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    let lines = |file: &str| -> Result<String, OwnerError> {
        let bytes = tree.read(file, LARGEST).map_err(OwnerError::Io)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    let find = |text: &str, name: &str, at: usize| -> Option<u32> {
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = lines.find(|fields| fields.first() == Some(&name))?;
        line.get(at)?.parse().ok()
    };
    let known = |what: &str, name: &str| match tree.is_empty() {
        true => Err(OwnerError::Empty(format!("there is no {what} `{name}`"))),
        false => Ok(()),
    };
    let (uid, mut gid) = match number(user) {
        Some(number) => (number, number),
        None if user.is_empty() => (0, 0),
        None => {
            known("user", user)?;
            let text = lines("etc/passwd")?;
            let uid = find(&text, user, 2).unwrap_or(0);
            (uid, find(&text, user, 3).unwrap_or(uid))
        }
    };
    if let Some(group) = group {
        gid = match number(group) {
            Some(number) => number,
            None if group.is_empty() => 0,
            None => {
                known("group", group)?;
                find(&lines("etc/group")?, group, 2).unwrap_or(gid)
            }
        };
    }
    Ok((uid, gid))
}

/// What `--chmod` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chmod {
    /// The bits.
    Bits(u32),
    /// Changes as chmod(1) has them: `u=rwX,go-w`.
    Changes(Vec<Change>),
}

/// One change: who, how, and which bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    who: u32,
    operation: char,
    bits: u32,
    conditional: bool,
    set_id: bool,
    sticky: bool,
    copied: Option<u32>,
}

impl Chmod {
    /// Reads it.
    pub(crate) fn parse(text: &str) -> Result<Chmod, String> {
        if text.starts_with(|c: char| c.is_ascii_digit()) || text.is_empty() {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Chmod::Bits)
                .ok_or_else(|| {
                    format!(
                        "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
                    )
                });
        }
        let bad = || format!("invalid chmod parameter: '{text}'");
        let mut changes = Vec::new();
        for clause in text.split(',') {
            let start = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let mut who = 0;
            for c in clause[..start].chars() {
                who |= match c {
                    'u' => 0o700,
                    'g' => 0o070,
                    'o' => 0o007,
                    'a' => 0o777,
                    _ => return Err(bad()),
                };
            }
            if who == 0 {
                who = 0o777;
            }
            let mut change: Option<Change> = None;
            for c in clause[start..].chars() {
                if matches!(c, '+' | '-' | '=') {
                    changes.extend(change.replace(Change {
                        who,
                        operation: c,
                        bits: 0,
                        conditional: false,
                        set_id: false,
                        sticky: false,
                        copied: None,
                    }));
                    continue;
                }
                let change = change.as_mut().ok_or_else(bad)?;
                match c {
                    'r' => change.bits |= 0o444,
                    'w' => change.bits |= 0o222,
                    'x' => change.bits |= 0o111,
                    'X' => change.conditional = true,
                    's' => change.set_id = true,
                    't' => change.sticky = true,
                    'u' => change.copied = Some(6),
                    'g' => change.copied = Some(3),
                    'o' => change.copied = Some(0),
                    _ => return Err(bad()),
                }
            }
            changes.extend(change);
        }
        Ok(Chmod::Changes(changes))
    }

    /// The mode of a folder that a copy makes on its way: octal bits, without those that a process may not give away.
    pub(crate) fn of_new_folder(chmod: Option<&Chmod>) -> u32 {
        match chmod {
            Some(Chmod::Bits(bits)) => bits & 0o777 & !0o022,
            _ => 0o755,
        }
    }

    /// The mode of an entry that had another.
    pub(crate) fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let changes = match self {
            Chmod::Bits(bits) => return *bits,
            Chmod::Changes(changes) => changes,
        };
        let mut mode = mode & 0o7777;
        for change in changes {
            let mut bits = change.bits;
            if change.conditional && (is_folder || mode & 0o111 != 0) {
                bits |= 0o111;
            }
            if let Some(shift) = change.copied {
                bits |= ((mode >> shift) & 7) * 0o111;
            }
            bits &= change.who;
            if change.set_id {
                bits |= if change.who & 0o700 != 0 { 0o4000 } else { 0 };
                bits |= if change.who & 0o070 != 0 { 0o2000 } else { 0 };
            }
            if change.sticky {
                bits |= 0o1000;
            }
            mode = match change.operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => (mode & !change.who) | bits,
            };
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (text, before, folder, after) in [
            ("644", 0o755, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+rX", 0o600, false, 0o644),
            ("go-w", 0o666, false, 0o644),
            ("u+s", 0o755, false, 0o4755),
            ("g=u", 0o700, false, 0o770),
            ("o=", 0o755, false, 0o750),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(before, folder), after, "{text}");
        }
        for text in ["9", "u", "u=q", "88888", "=rw,z+x"] {
            assert!(Chmod::parse(text).is_err(), "{text}");
        }
    }
}
