//! `RUN --mount=…` (Dockerfile reference, "RUN --mount").

use crate::near;

/// A mount of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where, as it is written; none where the kind has a place of its own.
    pub target: Option<String>,
    /// `from`: a stage, an image or a context.
    pub from: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// Whether the step may not write there.
    pub read_only: bool,
    /// `id`.
    pub id: Option<String>,
    /// `required`.
    pub required: bool,
    /// `sharing`.
    pub sharing: CacheSharing,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `env`: the variable that a secret is put into.
    pub env: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context or of a stage.
    Bind,
    /// A folder that stays from build to build.
    Cache,
    /// A folder in memory.
    Tmpfs,
    /// A secret.
    Secret,
    /// An agent's socket.
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step; others get a folder of their own.
    Private,
    /// One step; others wait.
    Locked,
}

const KEYS: [&str; 17] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
];

impl Mount {
    /// Reads the value of a `--mount`; `expand` expands variables in values.
    ///
    /// # Errors
    /// What is wrong, in BuildKit's words where it has some.
    pub fn parse(
        text: &str,
        expand: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Mount, String> {
        let mut mount = Mount {
            kind: MountKind::Bind,
            target: None,
            from: None,
            source: None,
            read_only: true,
            id: None,
            required: false,
            sharing: CacheSharing::Shared,
            mode: None,
            uid: None,
            gid: None,
            size: None,
            env: None,
        };
        let mut writable: Option<bool> = None;
        let mut sharing: Option<String> = None;
        for field in fields(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_ascii_lowercase(), Some(value.to_owned())),
                None => (field.to_ascii_lowercase(), None),
            };
            let flag = |value: &Option<String>| match value.as_deref() {
                None => Ok(true),
                Some(text) => boolean(text).ok_or_else(|| format!("invalid value for {key}: {text}")),
            };
            match (key.as_str(), &value) {
                ("readonly" | "ro", value) => {
                    writable = Some(!flag(value)?);
                    continue;
                }
                ("readwrite" | "rw", value) => {
                    writable = Some(flag(value)?);
                    continue;
                }
                ("required", None) => {
                    mount.required = true;
                    continue;
                }
                ("type", None) | (_, None) => {
                    return Err(format!("invalid field '{field}' must be a key=value pair"));
                }
                _ => {}
            }
            let value = value.unwrap_or_default();
            // The stages that a step needs are known before any variable is.
            if key == "from" && is_variable(&value) {
                return Err("'from' doesn't support variable expansion, define alias stage instead".into());
            }
            let value = expand(&value)?;
            let number = |what: &str| {
                value
                    .parse::<u32>()
                    .map_err(|_| format!("invalid value {value} for {what}"))
            };
            match key.as_str() {
                "type" => {
                    mount.kind = match value.to_ascii_lowercase().as_str() {
                        "bind" => MountKind::Bind,
                        "cache" => MountKind::Cache,
                        "tmpfs" => MountKind::Tmpfs,
                        "secret" => MountKind::Secret,
                        "ssh" => MountKind::Ssh,
                        _ => return Err(format!("unsupported mount type \"{value}\"")),
                    }
                }
                "from" => mount.from = Some(value),
                "source" | "src" => mount.source = Some(value),
                "target" | "dst" | "destination" => mount.target = Some(value),
                "required" => {
                    mount.required =
                        boolean(&value).ok_or_else(|| format!("invalid value for required: {value}"))?;
                }
                "id" => mount.id = Some(value),
                "sharing" => sharing = Some(value),
                "mode" => {
                    let mode = u32::from_str_radix(&value, 8);
                    mount.mode = Some(mode.map_err(|_| format!("invalid value {value} for mode"))?);
                }
                "uid" => mount.uid = Some(number("uid")?),
                "gid" => mount.gid = Some(number("gid")?),
                "size" => {
                    mount.size =
                        Some(bytes(&value).ok_or_else(|| format!("invalid value for size: {value}"))?);
                }
                "env" => mount.env = Some(value),
                _ => {
                    let known = KEYS.into_iter().chain(["size", "env"]);
                    let near = near::closest(&key, known)
                        .map(|near| format!(" (did you mean {near}?)"))
                        .unwrap_or_default();
                    return Err(format!("unexpected key '{key}' in '{field}'{near}"));
                }
            }
        }
        mount.read_only = match mount.kind {
            MountKind::Bind => !writable.unwrap_or(false),
            MountKind::Cache => !writable.unwrap_or(true),
            _ => false,
        };
        mount.checked(text, writable, sharing)
    }

    fn checked(
        mut self,
        text: &str,
        writable: Option<bool>,
        sharing: Option<String>,
    ) -> Result<Mount, String> {
        let kind = match self.kind {
            MountKind::Bind => "bind",
            MountKind::Cache => "cache",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Secret => "secret",
            MountKind::Ssh => "ssh",
        };
        let refuse = |key: &str| Err(format!("unexpected key '{key}' for mount type '{kind}'"));
        if self.required && !matches!(self.kind, MountKind::Secret | MountKind::Ssh) {
            return refuse("required");
        }
        let has_files = matches!(self.kind, MountKind::Bind | MountKind::Cache);
        if !has_files && writable == Some(false) {
            return refuse("readonly");
        }
        if self.kind == MountKind::Secret {
            if self.from.is_some() {
                return Err("secret mount should not have a from".into());
            }
            if let (None, None, None) = (&self.target, &self.id, &self.source) {
                return Err("invalid secret mount. one of source, target required".into());
            }
            if self.id.is_none() {
                self.id = self.source.clone().or_else(|| {
                    let target = self.target.as_deref()?;
                    Some(target.rsplit('/').next().unwrap_or(target).to_owned())
                });
            }
        } else if self.env.is_some() {
            return refuse("env");
        }
        if has_files && self.target.as_deref().is_none_or(str::is_empty) {
            return Err(format!("target is required (in '{text}')"));
        }
        if self.kind == MountKind::Tmpfs && self.target.as_deref().is_none_or(str::is_empty) {
            return Err(format!("target is required (in '{text}')"));
        }
        if self.size.is_some() && self.kind != MountKind::Tmpfs {
            return refuse("size");
        }
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            let given = [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ];
            if let Some((key, _)) = given.iter().find(|(_, is_given)| *is_given) {
                return Err(format!("{key} not allowed for \"{kind}\" type mounts"));
            }
        }
        // What is in memory comes from nowhere: a name is of no use, and no fault.
        if self.kind == MountKind::Tmpfs {
            self.from = None;
        }
        if self.env.as_deref() == Some("") {
            return Err("env needs the name of a variable".into());
        }
        let sharing = sharing.map(|value| match value.to_ascii_lowercase().as_str() {
            "shared" => Ok(CacheSharing::Shared),
            "private" => Ok(CacheSharing::Private),
            "locked" => Ok(CacheSharing::Locked),
            _ => Err(format!("unsupported sharing value \"{value}\"")),
        });
        if let Some(sharing) = sharing.transpose()? {
            if self.kind != MountKind::Cache {
                return refuse("sharing");
            }
            self.sharing = sharing;
        }
        Ok(self)
    }
}

/// The fields of a line of comma separated values, quotes as in CSV.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    let mut field = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (quoted, c) {
            (true, '"') if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            (true, '"') => quoted = false,
            (false, '"') if field.is_empty() => quoted = true,
            (false, ',') => found.push(std::mem::take(&mut field)),
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(format!("failed to parse csv mounts: a quote is open in '{text}'"));
    }
    found.push(field);
    Ok(found)
}

/// Whether a text has a `$` that something follows.
fn is_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}

/// Go's idea of truth.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Bytes of a text such as `64m`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let factor: u64 = match text[end..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    Some((number * factor as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Mount, String> {
        Mount::parse(text, &mut |value| Ok(value.replace("$HOME", "/root")))
    }

    #[test]
    fn mounts_of_every_kind() {
        let bind = parse("target=/src").unwrap();
        assert!(bind.kind == MountKind::Bind && bind.read_only && bind.from.is_none());
        assert!(!parse("type=bind,target=/x,rw").unwrap().read_only);
        let cache =
            parse("type=cache,target=$HOME/.cache/pip,sharing=locked,id=pip,mode=0700,uid=1").unwrap();
        assert_eq!(cache.target.as_deref(), Some("/root/.cache/pip"));
        assert_eq!(
            (cache.sharing, cache.mode, cache.uid),
            (CacheSharing::Locked, Some(0o700), Some(1))
        );
        assert!(!cache.read_only && parse("type=cache,target=/c,ro").unwrap().read_only);
        let secret = parse("type=secret,target=/run/x/netrc").unwrap();
        assert_eq!(secret.id.as_deref(), Some("netrc"));
        assert_eq!(parse("type=secret,id=a,env=A").unwrap().env.as_deref(), Some("A"));
        assert_eq!(
            parse("type=tmpfs,target=/t,size=64m").unwrap().size,
            Some(64 << 20)
        );
        assert_eq!(parse("type=ssh").unwrap().kind, MountKind::Ssh);
    }

    #[test]
    fn mounts_that_are_none() {
        for (text, part) in [
            ("type=foo,target=/x", "unsupported mount type \"foo\""),
            ("type=cache", "target is required"),
            ("type=secret", "one of source, target required"),
            ("type=cache,target=/x,sharing=all", "unsupported sharing value"),
            ("type=bind,target=/x,sharing=locked", "unexpected key 'sharing'"),
            ("type=bind,targt=/x", "did you mean target?"),
            ("target", "must be a key=value pair"),
            ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
            (
                "from=$STAGE,target=/x",
                "'from' doesn't support variable expansion",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
