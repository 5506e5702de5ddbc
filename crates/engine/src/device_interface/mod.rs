//! Devices by name, as vendors describe them in files (Container Device Interface, CDI): what a container gets for each.
//!
//! A name is `vendor.com/class=device`. The files say which nodes, mounts and variables it stands for, and which programs
//! of the vendor's finish the container's root before its program runs.

mod gpus;
mod specification;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use coil_build::executor::StepDevice;
use coil_runtime::spec::{ContainerSpec, DeviceNode, DeviceRule, Hook, Mount, MountKind};

pub use gpus::{GpuRequest, parse_gpus};
use specification::{Edits, NodeEdit, Specification};

use crate::run_error::RunError;

/// Where files are looked for; what stands in a later folder wins.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

fn refused(message: String, help: &str) -> RunError {
    RunError::Refused {
        message,
        help: Some(help.to_owned()),
        code: 125,
    }
}

/// Whether a `--device` is a name and no path.
pub fn is_name(text: &str) -> bool {
    let Some((kind, device)) = text.split_once('=') else {
        return false;
    };
    let word = |word: &str, more: &str| {
        let inner = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
        !word.is_empty()
            && word.starts_with(|letter: char| letter.is_ascii_alphanumeric())
            && word.chars().all(inner)
    };
    kind.split_once('/')
        .is_some_and(|(vendor, class)| word(vendor, "_-.") && word(class, "_-"))
        && word(device, "_-.:")
}

/// A file, and how much its folder counts.
struct Found {
    path: PathBuf,
    rank: usize,
    content: Specification,
}

/// All files of the folders that can be read, and why the others can't.
pub(crate) struct Library {
    files: Vec<Found>,
    errors: BTreeMap<PathBuf, String>,
}

impl Library {
    /// Reads what the folders hold.
    pub(crate) fn read(folders: &[PathBuf]) -> Self {
        let mut library = Library {
            files: Vec::new(),
            errors: BTreeMap::new(),
        };
        for (rank, folder) in folders.iter().enumerate() {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let kind = path.extension().and_then(|ending| ending.to_str());
                if !kind.is_some_and(|kind| ["json", "yaml", "yml"].contains(&kind)) {
                    continue;
                }
                let text = fs::read_to_string(&path).map_err(|error| error.to_string());
                match text.and_then(|text| Specification::parse(&text, kind == Some("json"))) {
                    Ok(content) => library.files.push(Found { path, rank, content }),
                    Err(reason) => {
                        library.errors.insert(path, reason);
                    }
                }
            }
        }
        library
    }

    /// Whether any file describes devices of a kind.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.files.iter().any(|file| file.content.kind == kind)
    }

    /// The file and the device that a name means.
    fn device(&self, name: &str) -> Result<(usize, &Edits), RunError> {
        let (kind, device) = name.split_once('=').unwrap_or((name, ""));
        let mut found: Vec<(usize, &Edits)> = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            if file.content.kind != kind {
                continue;
            }
            let devices = file.content.devices.iter().filter(|known| known.name == device);
            found.extend(devices.map(|known| (at, &known.container_edits)));
        }
        let best = found.iter().map(|(at, _)| self.files[*at].rank).max();
        found.retain(|(at, _)| Some(self.files[*at].rank) == best);
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(self.unknown(name, kind)),
            several => {
                let paths: Vec<String> = several
                    .iter()
                    .map(|(at, _)| self.files[*at].path.display().to_string())
                    .collect();
                Err(refused(
                    format!(
                        "CDI device injection failed: {name} is described by {}",
                        paths.join(" and ")
                    ),
                    "remove one of the files",
                ))
            }
        }
    }

    fn unknown(&self, name: &str, kind: &str) -> RunError {
        let known: Vec<String> = self
            .files
            .iter()
            .filter(|file| file.content.kind == kind)
            .flat_map(|file| &file.content.devices)
            .map(|device| format!("{kind}={}", device.name))
            .collect();
        let mut help = match known.is_empty() {
            true => {
                format!("no file in /etc/cdi or /var/run/cdi describes {kind}; the vendor's tool writes one")
            }
            false => format!("there are {}", known.join(", ")),
        };
        for (path, reason) in &self.errors {
            help.push_str(&format!("; {} can't be read: {reason}", path.display()));
        }
        refused(
            format!("CDI device injection failed: unresolvable CDI devices {name}"),
            &help,
        )
    }

    /// Gives a container the devices of these names.
    pub(crate) fn give(&self, names: &[String], spec: &mut ContainerSpec) -> Result<(), RunError> {
        let mut files: Vec<usize> = Vec::new();
        let mut all: Vec<&Edits> = Vec::new();
        for name in names {
            let (at, edits) = self.device(name)?;
            // What a file says of all of its devices is wanted once.
            if !files.contains(&at) {
                files.push(at);
                all.push(&self.files[at].content.container_edits);
            }
            all.push(edits);
        }
        all.into_iter().try_for_each(|edits| apply(edits, spec))
    }
}

impl Library {
    /// Gives a build's step its devices: by name, all of a kind with `*`, the first of a kind that is named alone. What is
    /// not there and not required is left out.
    pub(crate) fn give_step(&self, devices: &[StepDevice], spec: &mut ContainerSpec) -> Result<(), RunError> {
        let mut names = Vec::new();
        for device in devices {
            let (kind, wanted) = match device.name.split_once('=') {
                Some((kind, name)) => (kind, Some(name)),
                None => (device.name.as_str(), None),
            };
            let of_kind = self.files.iter().filter(|file| file.content.kind == kind);
            let mut known: Vec<String> = of_kind
                .flat_map(|file| &file.content.devices)
                .map(|known| format!("{kind}={}", known.name))
                .collect();
            known.sort();
            known.dedup();
            let found: Vec<String> = match wanted {
                Some("*") => known,
                None => known.into_iter().take(1).collect(),
                Some(_) => known.into_iter().filter(|name| *name == device.name).collect(),
            };
            if found.is_empty() && device.required {
                return Err(self.unknown(&device.name, kind));
            }
            names.extend(
                found
                    .into_iter()
                    .filter(|name| !names.contains(name))
                    .collect::<Vec<_>>(),
            );
        }
        self.give(&names, spec)
    }
}

/// Writes what a file asks for into the spec; what coil can't do is refused by name.
fn apply(edits: &Edits, spec: &mut ContainerSpec) -> Result<(), RunError> {
    if let Some(name) = edits.other.keys().next() {
        return Err(refused(
            format!("CDI device injection failed: `{name}` is not something that coil can do"),
            "use a file without it",
        ));
    }
    for entry in &edits.env {
        let name = entry.split('=').next().unwrap_or_default();
        let same = |known: &String| known.split('=').next() == Some(name);
        spec.env.retain(|known| !same(known));
        spec.env.push(entry.clone());
    }
    for node in &edits.device_nodes {
        spec.devices.nodes.push(device_node(node)?);
    }
    for mount in &edits.mounts {
        if !["", "bind", "none"].contains(&mount.kind.as_str()) {
            return Err(refused(
                format!(
                    "CDI device injection failed: a mount of the type `{}`",
                    mount.kind
                ),
                "use a file with mounts of files and folders of the host",
            ));
        }
        let has = |word: &str| mount.options.iter().any(|option| option == word);
        let options = mount
            .options
            .iter()
            .filter(|option| !["ro", "rw"].contains(&option.as_str()));
        spec.mounts.push(Mount {
            kind: MountKind::Bind {
                source: mount.host_path.clone(),
            },
            destination: mount.container_path.clone(),
            read_only: has("ro"),
            options: options.cloned().collect(),
        });
    }
    for hook in &edits.hooks {
        if hook.hook_name != "createContainer" {
            return Err(refused(
                format!("CDI device injection failed: a hook called `{}`", hook.hook_name),
                "coil runs hooks called createContainer",
            ));
        }
        spec.hooks.push(Hook {
            path: hook.path.clone(),
            args: hook.args.clone(),
            env: hook.env.clone(),
            timeout: hook.timeout,
        });
    }
    for gid in edits.additional_gids.iter().filter(|gid| **gid != 0) {
        if !spec.user.groups.contains(gid) {
            spec.user.groups.push(*gid);
        }
    }
    Ok(())
}

/// A node: what the file doesn't say of it is as on the host.
fn device_node(edit: &NodeEdit) -> Result<DeviceNode, RunError> {
    let source = edit
        .host_path
        .clone()
        .unwrap_or_else(|| PathBuf::from(&edit.path));
    let failed = |reason: String| {
        refused(
            format!("CDI device injection failed: {}: {reason}", source.display()),
            "is the device there? the vendor's tool writes the file anew",
        )
    };
    let (mut block, mut major, mut minor) = (edit.kind == "b", edit.major, edit.minor);
    let (mut mode, mut owner) = (0o666, (0, 0));
    match fs::metadata(&source) {
        Ok(data) => {
            let kind = data.file_type();
            if !kind.is_block_device() && !kind.is_char_device() {
                return Err(failed("it is not a device".to_owned()));
            }
            if edit.kind.is_empty() || major.is_none() {
                block = kind.is_block_device();
                (major, minor) = (Some(libc_major(data.rdev())), Some(libc_minor(data.rdev())));
            }
            mode = data.mode() & 0o777;
            owner = (data.uid(), data.gid());
        }
        Err(_) if major.is_some() && !edit.kind.is_empty() => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    Ok(DeviceNode {
        source,
        path: edit.path.clone(),
        rule: DeviceRule {
            block,
            major,
            minor,
            access: match edit.permissions.as_str() {
                "" => "rwm".to_owned(),
                access => access.to_owned(),
            },
        },
        mode: edit.file_mode.map_or(mode, |mode| mode & 0o777),
        owner: (edit.uid.unwrap_or(owner.0), edit.gid.unwrap_or(owner.1)),
    })
}

/// The kernel's own split of a device number (makedev(3)).
pub(crate) fn libc_major(number: u64) -> u32 {
    u32::try_from(((number >> 8) & 0xfff) | ((number >> 32) & !0xfff)).unwrap_or(u32::MAX)
}

/// The other half of it.
pub(crate) fn libc_minor(number: u64) -> u32 {
    u32::try_from((number & 0xff) | ((number >> 12) & !0xff)).unwrap_or(u32::MAX)
}

/// Folders as a setting names them, between colons; the usual ones where there is none.
pub fn folders(setting: Option<&str>) -> Vec<PathBuf> {
    match setting {
        Some(text) => text
            .split(':')
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .collect(),
        None => FOLDERS.iter().map(Path::new).map(Path::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in [
            "vendor.com/class=name",
            "nvidia.com/gpu=all",
            "a/b=0:1",
            "nvidia.com/gpu=GPU-0_1.a",
        ] {
            assert!(is_name(name), "{name}");
        }
        for other in [
            "/dev/null",
            "/dev/a=b",
            "a=b",
            "a/b",
            "a/b=",
            "a/=c",
            "/b=c",
            "a/b=-c",
            "a.b/c.d=e",
        ] {
            assert!(!is_name(other), "{other}");
        }
    }
}
