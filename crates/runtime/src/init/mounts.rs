//! What is mounted over the root for this container: name files, the user's mounts, and what is hidden.

use super::file_systems::{Devices, memory};
use super::root::Root;
use crate::failure::{Failure, Stage};
use crate::hidden_paths::MASKED_OF_EACH_PROCESSOR;
use crate::network::NetworkSpec;
use crate::spec::{ContainerSpec, Mount, MountKind};
use coil_sys::file;
use coil_sys::mount::{self, NewFileSystem, attribute, propagation};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

const STAGE: &str = "mounts";

/// Files of `/etc` that the container's directory holds, bound when they are there.
const NAME_FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

pub(crate) fn name_files(root: &Root, spec: &ContainerSpec) -> Result<(), Failure> {
    let directory = match &spec.network {
        // Who shares another's network shares its names.
        NetworkSpec::Container(other) => &other.container_dir,
        _ => &spec.container_dir,
    };
    // By it many a program tells that it is in a container; where the image's own files can't be written there is none.
    let _ = root.file(Path::new("/.dockerenv"));
    for name in NAME_FILES {
        let inside = Path::new("/etc").join(name);
        let asked = spec.mounts.iter().any(|m| Path::new(&m.destination) == inside);
        let source = directory.join(name);
        if asked || !source.exists() {
            continue;
        }
        let bind =
            || -> io::Result<()> { mount::place(mount::clone_tree(&source, false)?, root.file(&inside)?) };
        bind().stage(STAGE, format_args!("cannot mount {}", inside.display()))?;
    }
    Ok(())
}

/// Mounts what the user asked for, the shallower first, so that none hides another by accident.
pub(crate) fn user_mounts(root: &Root, mounts: &[Mount]) -> Result<(), Failure> {
    let mut mounts: Vec<&Mount> = mounts.iter().collect();
    mounts.sort_by_key(|m| Path::new(&m.destination).components().count());
    mounts.into_iter().try_for_each(|mount| user_mount(root, mount))
}

fn user_mount(root: &Root, mount: &Mount) -> Result<(), Failure> {
    let has = |option: &str| mount.options.iter().any(|o| o == option);
    let mut attributes = 0;
    for (option, bit) in [
        ("nosuid", attribute::NO_SUID),
        ("nodev", attribute::NO_DEV),
        ("noexec", attribute::NO_EXEC),
        ("noatime", attribute::NO_ACCESS_TIME),
    ] {
        if has(option) {
            attributes |= bit;
        }
    }
    let what = format!("cannot mount on {}", mount.destination);
    let destination = Path::new(&mount.destination);
    match &mount.kind {
        MountKind::Bind { source } | MountKind::Within { folder: source, .. } => {
            let recursive = !has("bind");
            let described = || format!("cannot mount {}", source.display());
            let tree = match &mount.kind {
                MountKind::Within { folder, path } => within(folder, path, recursive),
                _ => mount::clone_tree(source, recursive),
            };
            let tree = tree.stage(STAGE, described())?;
            let spread = if has("shared") || has("rshared") {
                propagation::SHARED
            } else if has("slave") || has("rslave") {
                propagation::SLAVE
            } else {
                propagation::PRIVATE
            };
            mount::set_propagation(&tree, spread, true).stage(STAGE, described())?;
            if mount.read_only {
                attributes |= attribute::READ_ONLY;
            }
            if attributes != 0 {
                mount::set_attributes(&tree, attributes, true).stage(STAGE, described())?;
            }
            let directory = file::status(&tree).stage(STAGE, described())?.kind() == libc::S_IFDIR;
            let target = if directory {
                root.directory(destination)
            } else {
                root.file(destination)
            };
            let target = target.stage(STAGE, &what)?;
            mount::place(&tree, target).stage(STAGE, format_args!("{} on {}", described(), mount.destination))
        }
        MountKind::FileSystem { kind, device, data } => {
            let described = || format!("cannot mount {device} on {}", mount.destination);
            if mount.read_only {
                attributes |= attribute::READ_ONLY;
            }
            let place = root.directory(destination).stage(STAGE, &what)?;
            let tree = file_system(kind, device, data, attributes).stage(STAGE, described())?;
            mount::place(&tree, place).stage(STAGE, described())
        }
        MountKind::Tmpfs { size, mode } => {
            for (option, bit) in [
                ("suid", attribute::NO_SUID),
                ("dev", attribute::NO_DEV),
                ("exec", attribute::NO_EXEC),
            ] {
                attributes |= if has(option) { 0 } else { bit };
            }
            let mode = format!("{mode:o}");
            let size = size.map(|size| size.to_string());
            let mut options = vec![("mode", mode.as_str())];
            options.extend(size.as_deref().map(|size| ("size", size)));
            let more = mount.options.iter().filter_map(|option| option.split_once('='));
            options.extend(more);
            let target = root.directory(destination).stage(STAGE, &what)?;
            let tree = memory(&options, attributes).stage(STAGE, &what)?;
            mount::place(&tree, target).stage(STAGE, &what)?;
            if mount.read_only {
                mount::set_attributes(&tree, attribute::READ_ONLY, false).stage(STAGE, &what)?;
            }
            Ok(())
        }
    }
}

/// A copy of what a path below a folder leads to, resolved by the kernel inside it.
fn within(folder: &Path, path: &str, recursive: bool) -> io::Result<OwnedFd> {
    let folder = Root::new(file::open(folder, libc::O_PATH | libc::O_DIRECTORY)?);
    mount::clone_tree_fd(folder.name(Path::new(path))?, recursive)
}

/// A new file system of any type, by its options as `mount -o` takes them.
fn file_system(kind: &str, device: &str, data: &str, attributes: u64) -> io::Result<OwnedFd> {
    let new = NewFileSystem::open(kind)?;
    let told = |error: io::Error| match new.complaint() {
        Some(text) => io::Error::new(error.kind(), format!("{error} ({text})")),
        None => error,
    };
    new.set("source", device).map_err(told)?;
    let mut attributes = attributes;
    for option in data.split(',').filter(|option| !option.is_empty()) {
        match (option, option.split_once('=')) {
            ("ro", _) => attributes |= attribute::READ_ONLY,
            ("nosuid", _) => attributes |= attribute::NO_SUID,
            ("nodev", _) => attributes |= attribute::NO_DEV,
            ("noexec", _) => attributes |= attribute::NO_EXEC,
            ("noatime", _) => attributes |= attribute::NO_ACCESS_TIME,
            ("rw" | "defaults" | "suid" | "dev" | "exec" | "atime" | "relatime", _) => {}
            (_, Some((key, value))) => new.set(key, value).map_err(told)?,
            (flag, None) => new.flag(flag).map_err(told)?,
        }
    }
    new.mount(attributes).map_err(told)
}

/// Hides paths: an empty directory over a directory, `/dev/null` over a file. What isn't there needs no hiding.
///
/// The null node is the one that we made, by descriptor: an image's own can't take its place (CVE-2025-31133).
pub(super) fn hide(root: &Root, spec: &ContainerSpec, devices: &Devices) -> Result<(), Failure> {
    let mut empty: Option<OwnedFd> = None;
    let mut paths: Vec<String> = spec.masked_paths.clone();
    if !paths.is_empty() {
        let of = |number: usize| format!("/sys/devices/system/cpu/cpu{number}/{MASKED_OF_EACH_PROCESSOR}");
        paths.extend((0..4096).map(of).take_while(|path| Path::new(path).exists()));
    }
    for path in &paths {
        let what = format!("cannot hide {path}");
        let target = match root.name_without_links(Path::new(path)) {
            Ok(target) => target,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => continue,
            Err(error) => return Err(Failure::new(STAGE, what, &error)),
        };
        let cover = || -> io::Result<OwnedFd> {
            if file::status(&target)?.kind() != libc::S_IFDIR {
                return mount::clone_tree_fd(&devices.null, false);
            }
            match empty.take() {
                Some(tree) => {
                    let copy = mount::clone_tree_fd(&tree, false);
                    empty = Some(tree);
                    copy
                }
                None => memory(&[("size", "4k"), ("mode", "0555")], attribute::READ_ONLY),
            }
        };
        let mut cover = cover;
        let tree = cover().stage(STAGE, &what)?;
        mount::place(&tree, &target).stage(STAGE, &what)?;
        if empty.is_none() && file::status(&tree).is_ok_and(|s| s.kind() == libc::S_IFDIR) {
            empty = Some(tree);
        }
    }
    Ok(())
}

/// Takes writing away from paths.
pub(super) fn protect(root: &Root, paths: &[String]) -> Result<(), Failure> {
    for path in paths {
        let protect = |target: OwnedFd| -> io::Result<()> {
            let tree = mount::clone_tree_fd(&target, true)?;
            mount::set_attributes(&tree, attribute::READ_ONLY, true)?;
            mount::place(tree, target)
        };
        match root.name_without_links(Path::new(path)) {
            Ok(target) => protect(target).stage(STAGE, format_args!("cannot protect {path}"))?,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
            Err(error) => return Err(Failure::new(STAGE, format_args!("cannot protect {path}"), &error)),
        }
    }
    Ok(())
}
