//! Who `--user` and `USER` mean, by the image's own passwd and group files, read without trust.

use crate::spec::User;
use coil_sys::file::{self, resolve};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes of such a file: a huge one is an attack on our memory (CVE-2026-47262).
const LARGEST: u64 = 4 << 20;

/// A user with what programs expect in the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Ids.
    pub user: User,
    /// Login name, empty when the image has none for the id.
    pub name: String,
    /// Home directory, `/` when the image has none.
    pub home: String,
}

/// Why a user can't be told.
#[derive(Debug)]
pub enum UserError {
    /// No such name in the image.
    NoUser(String),
    /// No such group in the image.
    NoGroup(String),
    /// A number above what the kernel takes.
    Range(String),
    /// A file that can't be read, or isn't what it should be.
    File {
        /// Path inside.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UserError::NoUser(name) => write!(
                f,
                "unable to find user {name}: no matching entries in passwd file"
            ),
            UserError::NoGroup(name) => write!(
                f,
                "unable to find group {name}: no matching entries in group file"
            ),
            UserError::Range(text) => write!(f, "uids and gids must be in range 0-2147483647: {text}"),
            UserError::File { path, .. } => write!(f, "cannot read {} of the image", path.display()),
        }
    }
}

impl std::error::Error for UserError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UserError::File { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Resolves `name|uid[:group|gid]`, empty for root; layers are the lowest first.
///
/// A number is a number, never looked up as a name: an image can't map "1000" to root (CVE-2026-46680).
pub fn resolve(layers: &[PathBuf], upper: Option<&Path>, spec: &str) -> Result<Account, UserError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let passwd = read(layers, upper, "etc/passwd")?;
    let groups = read(layers, upper, "etc/group")?;
    let account = match number(user)? {
        Some(uid) => accounts(&passwd).find(|a| a.user.uid == uid).unwrap_or(Account {
            user: User {
                uid,
                ..User::default()
            },
            name: String::new(),
            home: "/".to_owned(),
        }),
        None if user.is_empty() => accounts(&passwd).find(|a| a.user.uid == 0).unwrap_or(Account {
            home: "/root".to_owned(),
            ..Account::default()
        }),
        None => accounts(&passwd)
            .find(|a| a.name == user)
            .ok_or_else(|| UserError::NoUser(user.to_owned()))?,
    };
    with_group(account, group, &groups)
}

/// The number of a group, by name or number, as the image has it.
///
/// # Errors
/// When there is no such group, or the file can't be read.
pub fn resolve_group(layers: &[PathBuf], upper: Option<&Path>, group: &str) -> Result<u32, UserError> {
    if let Some(number) = number(group)? {
        return Ok(number);
    }
    let groups = read(layers, upper, "etc/group")?;
    let found = lines(&groups).find(|(name, _, _)| *name == group);
    found
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| UserError::NoGroup(group.to_owned()))
}

fn with_group(mut account: Account, group: Option<&str>, groups: &str) -> Result<Account, UserError> {
    match group {
        Some(group) => {
            account.user.gid = match number(group)? {
                Some(gid) => gid,
                None => lines(groups)
                    .find(|(name, _, _)| *name == group)
                    .map(|(_, gid, _)| gid)
                    .ok_or_else(|| UserError::NoGroup(group.to_owned()))?,
            };
        }
        None if !account.name.is_empty() => {
            let mine = |members: &str| members.split(',').any(|m| m == account.name);
            let gid = account.user.gid;
            account.user.groups = lines(groups)
                .filter(|(_, id, members)| mine(members) && *id != gid)
                .map(|(_, id, _)| id)
                .collect();
        }
        None => {}
    }
    Ok(account)
}

fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse::<u32>().ok().filter(|n| *n <= i32::MAX as u32);
    number.map(Some).ok_or_else(|| UserError::Range(text.to_owned()))
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).filter(|h| h.starts_with('/')).unwrap_or("/");
        Some(Account {
            user: User {
                uid,
                gid,
                groups: Vec::new(),
            },
            name: name.to_owned(),
            home: home.to_owned(),
        })
    })
}

fn lines(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

/// The file as the topmost layer that has it holds it; empty when none has.
fn read(layers: &[PathBuf], upper: Option<&Path>, path: &str) -> Result<String, UserError> {
    let tops = upper.into_iter().chain(layers.iter().rev().map(PathBuf::as_path));
    for layer in tops {
        match read_in(layer, Path::new(path)) {
            Ok(Found::Text(text)) => return Ok(text),
            Ok(Found::Removed) => break,
            Ok(Found::Nothing) => {}
            Err(error) => {
                return Err(UserError::File {
                    path: Path::new("/").join(path),
                    error,
                });
            }
        }
    }
    Ok(String::new())
}

enum Found {
    Text(String),
    Removed,
    Nothing,
}

fn read_in(layer: &Path, path: &Path) -> io::Result<Found> {
    let root = file::open(layer, libc::O_PATH | libc::O_DIRECTORY)?;
    // Inside the layer whatever links it holds, and without waiting for the other end of a FIFO.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let rules = resolve::IN_ROOT | resolve::NO_MAGIC_LINKS;
    let named = match file::open_below(&root, path, libc::O_PATH, 0, rules) {
        Ok(named) => named,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(error),
    };
    let status = file::status(&named)?;
    match status.kind() {
        libc::S_IFREG => {}
        // How overlayfs marks what was deleted.
        libc::S_IFCHR if status.device == (0, 0) => return Ok(Found::Removed),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not a regular file",
            ));
        }
    }
    let fd = file::open_below(&root, path, flags, 0, rules)?;
    if file::status(&fd)?.kind() != libc::S_IFREG {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is larger than 4 MiB",
        ));
    }
    Ok(Found::Text(String::from_utf8_lossy(&bytes).into_owned()))
}
