//! What `-v` says: `SOURCE:DESTINATION[:OPTIONS]`.

use std::fmt;
use std::path::PathBuf;

use coil_runtime::spec::{Mount, MountKind};

/// Options that say nothing on one Linux host, or say what is so anyway; accepted, as Docker does.
const WITHOUT_EFFECT: [&str; 6] = ["z", "Z", "cached", "delegated", "consistent", "nocopy"];
const PROPAGATION: [&str; 6] = ["shared", "rshared", "slave", "rslave", "private", "rprivate"];

/// A `-v` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountFlagError {
    /// It is no mount at all.
    Form(String),
    /// The place inside is not absolute, or is the root.
    Destination(String),
    /// An option is unknown.
    Option {
        /// The whole flag.
        flag: String,
        /// The option.
        option: String,
    },
    /// A volume by name.
    Named(String),
}

impl fmt::Display for MountFlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountFlagError::Form(flag) => {
                write!(
                    f,
                    "invalid volume specification `{flag}`: give -v /HOST/PATH:/CONTAINER/PATH[:ro]"
                )
            }
            MountFlagError::Destination(flag) => {
                write!(
                    f,
                    "invalid volume specification `{flag}`: the path inside must be absolute and not `/`"
                )
            }
            MountFlagError::Option { flag, option } => {
                write!(
                    f,
                    "invalid volume specification `{flag}`: unknown option `{option}`"
                )
            }
            MountFlagError::Named(flag) => write!(
                f,
                "-v {flag}: volumes by name are not there yet; give a path of the host, `./{}` for one beside you",
                flag.split(':').next().unwrap_or_default()
            ),
        }
    }
}

impl std::error::Error for MountFlagError {}

/// Reads a flag whose source is an absolute path already; gives the mount.
pub(crate) fn parse(flag: &str) -> Result<Mount, MountFlagError> {
    let mut parts = flag.split(':');
    let (source, destination, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(destination), options, None) => {
            (source, destination, options.unwrap_or_default())
        }
        _ => return Err(MountFlagError::Form(flag.to_owned())),
    };
    if source.is_empty() || destination.is_empty() {
        return Err(MountFlagError::Form(flag.to_owned()));
    }
    if !source.starts_with('/') {
        return Err(MountFlagError::Named(flag.to_owned()));
    }
    if !destination.starts_with('/') || destination.trim_end_matches('/').is_empty() {
        return Err(MountFlagError::Destination(flag.to_owned()));
    }
    let mut mount = Mount {
        kind: MountKind::Bind {
            source: PathBuf::from(source),
        },
        destination: destination.to_owned(),
        read_only: false,
        options: vec!["rbind".into()],
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => mount.read_only = true,
            "rw" => mount.read_only = false,
            _ if WITHOUT_EFFECT.contains(&option) => {}
            _ if PROPAGATION.contains(&option) => mount.options.push(option.to_owned()),
            _ => {
                return Err(MountFlagError::Option {
                    flag: flag.into(),
                    option: option.into(),
                });
            }
        }
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_docker_does() {
        let mount = parse("/a:/b:ro,z").unwrap();
        assert!(mount.read_only && mount.destination == "/b");
        assert!(matches!(parse("/a"), Err(MountFlagError::Form(_))));
        assert!(matches!(parse("/a:/b:ro:x"), Err(MountFlagError::Form(_))));
        assert!(matches!(parse("/a:b"), Err(MountFlagError::Destination(_))));
        assert!(matches!(parse("/a:/"), Err(MountFlagError::Destination(_))));
        assert!(matches!(parse("/a:/b:wat"), Err(MountFlagError::Option { .. })));
        assert!(matches!(parse("data:/b"), Err(MountFlagError::Named(_))));
    }
}
