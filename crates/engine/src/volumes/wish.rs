//! What `-v`, `--mount` and `--tmpfs` say, read into wishes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Options of `-v` that say nothing on one Linux host, or say what is so anyway; accepted, as Docker does.
const WITHOUT_EFFECT: [&str; 6] = ["z", "Z", "cached", "delegated", "consistent", "default"];
const PROPAGATION: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];
/// Options of a file system in memory that are the mount's own.
const TMPFS_FLAGS: [&str; 13] = [
    "rw",
    "ro",
    "noexec",
    "exec",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noatime",
    "atime",
    "relatime",
    "norelatime",
    "defaults",
];
const TMPFS_VALUES: [&str; 8] = [
    "size",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
    "huge",
];

/// A flag that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishError {
    /// What is wrong, in Docker's words where it has them.
    pub message: String,
    /// What to give in its place.
    pub help: &'static str,
}

impl fmt::Display for WishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WishError {}

const V_HELP: &str =
    "give -v HOST_PATH:CONTAINER_PATH[:ro], such as -v ./data:/data, or -v NAME:/data for a volume";
const MOUNT_HELP: &str =
    "give --mount type=bind|volume|tmpfs,src=SOURCE,dst=PATH, such as --mount type=volume,src=data,dst=/data";
const TMPFS_HELP: &str = "give --tmpfs PATH[:size=64m,mode=1777]";

/// What is to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or folder of the host.
    Bind {
        /// Where it is.
        path: PathBuf,
        /// Whether a folder is made where nothing is.
        create: bool,
        /// Whether what is mounted below it is left out.
        alone: bool,
    },
    /// A volume.
    Volume {
        /// Its name; one without a name when none is given.
        name: Option<String>,
        /// What it is made with when it isn't there.
        options: BTreeMap<String, String>,
        /// Its labels, likewise.
        labels: BTreeMap<String, String>,
        /// Its driver.
        driver: Option<String>,
        /// Whether it stays empty whatever the image has there.
        no_copy: bool,
        /// What of it is mounted.
        subpath: Option<String>,
    },
    /// A file system in memory.
    Tmpfs {
        /// Most bytes.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
}

/// A mount that somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What.
    pub source: Source,
    /// Where, absolute.
    pub destination: String,
    /// No writes.
    pub read_only: bool,
    /// Options of the mount.
    pub options: Vec<String>,
    /// The options as they were given, which `inspect` shows.
    pub mode: String,
}

/// `/a//b/../c/` as `/a/c`; none when it is relative.
fn clean(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// A volume of an image at a path; none when the path is no place for one.
pub fn of_image(path: &str) -> Option<Wish> {
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let destination = clean(&path).filter(|path| path != "/")?;
    Some(Wish {
        source: volume(None, false),
        destination,
        read_only: false,
        options: Vec::new(),
        mode: String::new(),
    })
}

fn volume(name: Option<String>, no_copy: bool) -> Source {
    Source::Volume {
        name,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        driver: None,
        no_copy,
        subpath: None,
    }
}

/// `[SOURCE:]DESTINATION[:OPTIONS]`, a source that is a path being absolute already.
///
/// # Errors
/// When it is none.
pub fn bind_flag(flag: &str) -> Result<Wish, WishError> {
    let wrong = |why: &str| WishError {
        message: match why {
            "" => format!("invalid volume specification: '{flag}'"),
            why => format!("invalid volume specification: '{flag}': {why}"),
        },
        help: V_HELP,
    };
    let parts: Vec<&str> = flag.split(':').collect();
    let (source, destination, mode) = match parts.as_slice() {
        [destination] => ("", *destination, ""),
        [source, destination] => (*source, *destination, ""),
        [source, destination, mode] => (*source, *destination, *mode),
        _ => return Err(wrong("")),
    };
    if destination.is_empty() || (parts.len() > 1 && source.is_empty()) {
        return Err(wrong(""));
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let Some(destination) = clean(destination) else {
        let text = format!(
            "invalid mount config for type \"{kind}\": invalid mount path: '{destination}' mount path must be absolute"
        );
        return Err(wrong(&text));
    };
    if destination == "/" {
        let text = format!(
            "invalid mount config for type \"{kind}\": invalid specification: destination can't be '/'"
        );
        return Err(wrong(&text));
    }
    let (mut read_only, mut no_copy, mut options) = (false, false, Vec::new());
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "rw" => read_only = false,
            "nocopy" if kind == "volume" => no_copy = true,
            _ if WITHOUT_EFFECT.contains(&option) => {}
            _ if PROPAGATION.contains(&option) && kind == "bind" => options.push(option.to_owned()),
            _ => {
                return Err(WishError {
                    message: format!("invalid mode: {mode} (in -v {flag})"),
                    help: "options are ro, rw, nocopy (of a volume), a propagation such as rslave (of a path), z and Z",
                });
            }
        }
    }
    let source = match (kind, source) {
        ("bind", path) => Source::Bind {
            path: PathBuf::from(path),
            create: true,
            alone: false,
        },
        (_, "") => volume(None, no_copy),
        (_, name) => volume(Some(name.to_owned()), no_copy),
    };
    Ok(Wish {
        source,
        destination,
        read_only,
        options,
        mode: mode.to_owned(),
    })
}

/// `PATH[:OPTIONS]`.
///
/// # Errors
/// When it is none.
pub fn tmpfs_flag(flag: &str) -> Result<Wish, WishError> {
    let wrong = |message: String| WishError {
        message,
        help: TMPFS_HELP,
    };
    let (path, mode_text) = flag.split_once(':').unwrap_or((flag, ""));
    let Some(destination) = clean(path) else {
        return Err(wrong(format!(
            "invalid mount path: '{path}' mount path must be absolute"
        )));
    };
    if destination == "/" {
        return Err(wrong("invalid specification: destination can't be '/'".into()));
    }
    let (mut size, mut mode, mut read_only, mut options) = (None, 0o1777, false, Vec::new());
    for option in mode_text.split(',').filter(|option| !option.is_empty()) {
        let bad = || wrong(format!("invalid tmpfs option \"{option}\" (in --tmpfs {flag})"));
        match option.split_once('=') {
            Some(("size", value)) if value.ends_with('%') => options.push(format!("size={value}")),
            Some(("size", value)) => size = Some(bytes(value).ok_or_else(bad)?),
            Some(("mode", value)) => mode = octal(value).ok_or_else(bad)?,
            Some((key, _)) if TMPFS_VALUES.contains(&key) => options.push(option.to_owned()),
            None if option == "ro" => read_only = true,
            None if TMPFS_FLAGS.contains(&option) => options.push(option.to_owned()),
            _ => return Err(bad()),
        }
    }
    Ok(Wish {
        source: Source::Tmpfs { size, mode },
        destination,
        read_only,
        options,
        mode: mode_text.to_owned(),
    })
}

/// Bytes of `64m` and the like; units are binary.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

fn truth(value: Option<&str>) -> Option<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("1" | "true" | "t") => Some(true),
        Some("0" | "false" | "f") => Some(false),
        _ => None,
    }
}

/// Fields between commas; one that has a comma itself stands in quotes, as in CSV.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = found.last_mut()?;
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                last.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if last.is_empty() => quoted = true,
            ',' if !quoted => found.push(String::new()),
            letter => last.push(letter),
        }
    }
    (!quoted).then_some(found)
}

#[derive(Default)]
struct Fields {
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<String>,
    alone: Option<bool>,
    create: bool,
    no_copy: Option<bool>,
    subpath: Option<String>,
    driver: Option<String>,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    size: Option<u64>,
    mode: Option<u32>,
    of_bind: bool,
    of_volume: bool,
    of_tmpfs: bool,
}

/// `type=…,src=…,dst=…`.
///
/// # Errors
/// When it is none.
pub fn mount_flag(flag: &str) -> Result<Wish, WishError> {
    let wrong = |why: String| WishError {
        message: format!("invalid argument \"{flag}\" for \"--mount\" flag: {why}"),
        help: MOUNT_HELP,
    };
    let mut found = Fields::default();
    let mut kind = "volume".to_owned();
    for field in fields(flag).ok_or_else(|| wrong("a quote is not closed".into()))? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let bad = || wrong(format!("invalid value for {key}: {}", value.unwrap_or_default()));
        let pair = |value: &str| {
            let (name, text) = value.split_once('=').unwrap_or((value, ""));
            (name.to_owned(), text.to_owned())
        };
        match (key.as_str(), value) {
            ("readonly" | "ro", value) => found.read_only = truth(value).ok_or_else(bad)?,
            ("volume-nocopy", value) => {
                found.no_copy = Some(truth(value).ok_or_else(bad)?);
                found.of_volume = true;
            }
            ("bind-nonrecursive", value) => {
                found.alone = Some(truth(value).ok_or_else(bad)?);
                found.of_bind = true;
            }
            ("bind-create-src", value) => {
                found.create = truth(value).ok_or_else(bad)?;
                found.of_bind = true;
            }
            (_, None) => {
                return Err(wrong(format!("invalid field '{field}' must be a key=value pair")));
            }
            ("type", Some(value)) => kind = value.to_ascii_lowercase(),
            ("source" | "src", Some(value)) => found.source = Some(value.to_owned()),
            ("target" | "dst" | "destination", Some(value)) => found.target = Some(value.to_owned()),
            ("consistency", Some(_)) => {}
            ("bind-propagation", Some(value)) => {
                if !PROPAGATION.contains(&value) {
                    return Err(bad());
                }
                found.propagation = Some(value.to_owned());
                found.of_bind = true;
            }
            ("bind-recursive", Some(value)) => {
                match value {
                    "enabled" | "writable" => found.alone = Some(false),
                    "disabled" => found.alone = Some(true),
                    // A mount that can't be written is so with all that is below it.
                    "readonly" => found.alone = Some(false),
                    _ => return Err(bad()),
                }
                found.of_bind = true;
            }
            ("volume-subpath", Some(value)) => {
                found.subpath = Some(value.to_owned());
                found.of_volume = true;
            }
            ("volume-driver", Some(value)) => {
                found.driver = Some(value.to_owned());
                found.of_volume = true;
            }
            ("volume-label", Some(value)) => {
                found.labels.extend([pair(value)]);
                found.of_volume = true;
            }
            ("volume-opt", Some(value)) => {
                found.options.extend([pair(value)]);
                found.of_volume = true;
            }
            ("tmpfs-size", Some(value)) => {
                found.size = Some(bytes(value).ok_or_else(bad)?);
                found.of_tmpfs = true;
            }
            ("tmpfs-mode", Some(value)) => {
                found.mode = Some(octal(value).ok_or_else(bad)?);
                found.of_tmpfs = true;
            }
            (key, Some(_)) => return Err(wrong(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    let Some(target) = found.target.take() else {
        return Err(wrong("target is required".into()));
    };
    for (prefix, used, own) in [
        ("bind", found.of_bind, "bind"),
        ("volume", found.of_volume, "volume"),
        ("tmpfs", found.of_tmpfs, "tmpfs"),
    ] {
        if used && kind != own {
            return Err(wrong(format!(
                "cannot mix '{prefix}-*' options with mount type '{kind}'"
            )));
        }
    }
    wish(&kind, target, found).map_err(|why| WishError {
        message: format!("invalid mount config for type \"{kind}\": {why}"),
        help: MOUNT_HELP,
    })
}

fn wish(kind: &str, target: String, found: Fields) -> Result<Wish, String> {
    let destination = clean(&target)
        .ok_or_else(|| format!("invalid mount path: '{target}' mount path must be absolute"))?;
    if destination == "/" {
        return Err("invalid specification: destination can't be '/'".into());
    }
    let mut options = Vec::new();
    let source = match kind {
        "bind" => {
            let path = found.source.filter(|source| !source.is_empty());
            let path = path.ok_or("field Source must not be empty")?;
            if !path.starts_with('/') {
                return Err(format!(
                    "invalid mount path: '{path}' mount path must be absolute"
                ));
            }
            options.extend(found.propagation);
            Source::Bind {
                path: PathBuf::from(path),
                create: found.create,
                alone: found.alone.unwrap_or(false),
            }
        }
        "volume" => Source::Volume {
            name: found.source.filter(|source| !source.is_empty()),
            options: found.options,
            labels: found.labels,
            driver: found.driver,
            no_copy: found.no_copy.unwrap_or(false),
            subpath: found.subpath.filter(|path| !path.is_empty()),
        },
        "tmpfs" => {
            if found.source.is_some() {
                return Err("field Source must not be specified".into());
            }
            Source::Tmpfs {
                size: found.size,
                mode: found.mode.unwrap_or(0o1777),
            }
        }
        "image" | "npipe" | "cluster" => return Err(format!("coil can't mount a `{kind}` on this host")),
        _ => return Err("mount type unknown".into()),
    };
    if let Source::Volume {
        subpath: Some(path), ..
    } = &source
        && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        return Err("subpath must be a relative path within the volume".into());
    }
    Ok(Wish {
        source,
        destination,
        read_only: found.read_only,
        options,
        mode: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flags_are_read_as_docker_does() {
        let wish = bind_flag("/a:/b/../c/:ro,z").unwrap();
        assert!(wish.read_only && wish.destination == "/c" && wish.mode == "ro,z");
        assert!(matches!(wish.source, Source::Bind { create: true, .. }));
        let wish = bind_flag("data:/b:nocopy").unwrap();
        assert!(
            matches!(wish.source, Source::Volume { name: Some(name), no_copy: true, .. } if name == "data")
        );
        assert!(matches!(
            bind_flag("/b").unwrap().source,
            Source::Volume { name: None, .. }
        ));
        for (flag, part) in [
            ("a:b:c:d", "invalid volume specification: 'a:b:c:d'"),
            (":", "invalid volume specification: ':'"),
            ("v:b", "mount path must be absolute"),
            ("b", "mount path must be absolute"),
            ("v:/", "destination can't be '/'"),
            ("/a:/b:wat", "invalid mode: wat"),
            ("v:/b:rslave", "invalid mode: rslave"),
            ("/a:/b:nocopy", "invalid mode: nocopy"),
        ] {
            let error = bind_flag(flag).unwrap_err();
            assert!(error.message.contains(part), "{flag}: {error}");
        }
    }

    #[test]
    fn long_flags_are_read_as_docker_does() {
        let wish = mount_flag("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert!(wish.read_only && wish.options == ["rslave"]);
        let wish =
            mount_flag("source=v,target=/b,volume-opt=type=nfs,\"volume-opt=o=addr=h,rw\",volume-nocopy")
                .unwrap();
        let Source::Volume { options, no_copy, .. } = wish.source else {
            panic!("a volume");
        };
        assert!(no_copy && options["o"] == "addr=h,rw" && options["type"] == "nfs");
        let wish = mount_flag("type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=700").unwrap();
        assert_eq!(
            wish.source,
            Source::Tmpfs {
                size: Some(1 << 20),
                mode: 0o700
            }
        );
        for (flag, part) in [
            ("foo=bar", "unexpected key 'foo' in 'foo=bar'"),
            ("type=bind,dst=/x", "field Source must not be empty"),
            ("type=tmpfs,src=a,dst=/x", "field Source must not be specified"),
            ("type=volume,src=a", "target is required"),
            ("type=wat,dst=/x", "type \"wat\": mount type unknown"),
            (
                "type=bind,src=/,dst=/x,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "src=v,dst=/x,volume-subpath=../y",
                "subpath must be a relative path",
            ),
            ("src=v,dst=/x,ro=maybe", "invalid value for ro"),
        ] {
            let error = mount_flag(flag).unwrap_err();
            assert!(error.message.contains(part), "{flag}: {error}");
        }
    }

    #[test]
    fn folders_in_memory_take_the_options_of_tmpfs() {
        let wish = tmpfs_flag("/run:size=64m,mode=755,noexec,uid=5,ro").unwrap();
        assert!(wish.read_only && wish.options == ["noexec", "uid=5"]);
        assert!(tmpfs_flag("x").is_err() && tmpfs_flag("/x:wat").is_err());
    }
}
