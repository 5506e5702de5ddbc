//! The file systems that every container has: root, proc, sysfs, control groups, and `/dev` with what lies on it.

use super::root::Root;
use crate::cgroup::CgroupPlan;
use crate::failure::{Failure, Stage};
use crate::spec::{ContainerSpec, DeviceNode};
use coil_sys::file::{self, magic};
use coil_sys::mount::{self, NewFileSystem, attribute};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

const STAGE: &str = "file systems";
const SAFE: u64 = attribute::NO_SUID | attribute::NO_DEV | attribute::NO_EXEC;

/// Nodes of `/dev`: name and number. A program that finds one missing breaks in odd ways.
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts the layers, with the container's own on top, and puts them in this mount namespace.
pub(crate) fn root(spec: &ContainerSpec) -> Result<Root, Failure> {
    let place = spec.container_dir.join("rootfs");
    let target = file::open(&place, libc::O_PATH | libc::O_DIRECTORY).stage(STAGE, place.display())?;
    match overlay(spec)? {
        Some(overlay) => {
            mount::place(&overlay, &target).stage(STAGE, "cannot place the root file system")?;
            Ok(Root::new(overlay))
        }
        None => {
            classic_overlay(spec, &place).stage(STAGE, "cannot mount the layers")?;
            let flags = libc::O_PATH | libc::O_DIRECTORY;
            Ok(Root::new(
                file::open(&place, flags).stage(STAGE, place.display())?,
            ))
        }
    }
}

/// Whether the kernel takes a layer at a time (Linux 6.7). Before 6.5 it took any word, and complained at the mount.
fn takes_single_layers() -> bool {
    let refused_for_what_it_says = |overlay: NewFileSystem| {
        overlay.set("lowerdir+", "").is_err()
            && overlay.complaint().is_none_or(|text| !text.contains("nknown"))
    };
    NewFileSystem::open("overlay").is_ok_and(refused_for_what_it_says)
}

/// None when the kernel is too old for a layer at a time.
fn overlay(spec: &ContainerSpec) -> Result<Option<OwnedFd>, Failure> {
    let what = "cannot mount the layers";
    if !takes_single_layers() {
        return Ok(None);
    }
    let overlay = NewFileSystem::open("overlay").stage(STAGE, what)?;
    // The name that tools look for in the table of mounts.
    overlay.set("source", "overlay").stage(STAGE, what)?;
    for layer in spec.layers.iter().rev() {
        let described = format_args!("layer {}", layer.display());
        overlay.set_path("lowerdir+", layer).stage(STAGE, described)?;
    }
    let complain = |error: io::Error| match overlay.complaint() {
        Some(complaint) => Failure::new(STAGE, format_args!("{what} ({complaint})"), &error),
        None => Failure::new(STAGE, what, &error),
    };
    overlay.set_path("upperdir", &spec.upper()).map_err(complain)?;
    overlay.set_path("workdir", &spec.work()).map_err(complain)?;
    if !spec.id_map.is_identity() {
        overlay.flag("userxattr").map_err(complain)?;
    }
    if spec.auto_remove {
        // Else the whole host file system below is synced at the end, for files that are thrown away.
        overlay.flag("volatile").map_err(complain)?;
    }
    overlay.mount(0).map(Some).map_err(complain)
}

/// By descriptors: the options must fit in a page, and a path may hold a colon or a comma.
fn classic_overlay(spec: &ContainerSpec, place: &Path) -> io::Result<()> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let layers: Vec<OwnedFd> = spec
        .layers
        .iter()
        .rev()
        .map(|layer| file::open(layer, flags))
        .collect::<io::Result<_>>()?;
    let (upper, work) = (
        file::open(&spec.upper(), flags)?,
        file::open(&spec.work(), flags)?,
    );
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower: Vec<String> = layers.iter().map(path).collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        path(&upper),
        path(&work)
    );
    if !spec.id_map.is_identity() {
        options.push_str(",userxattr");
    }
    if spec.auto_remove {
        options.push_str(",volatile");
    }
    mount::mount_classic("overlay", place, &options)
}

fn new(kind: &str, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    let system = NewFileSystem::open(kind)?;
    for (key, value) in options {
        system.set(key, value)?;
    }
    system.mount(attributes)
}

/// A file system in memory that is not placed yet.
pub(super) fn memory(options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    new("tmpfs", options, attributes)
}

/// Terminals of a container's own; the group `tty` owns them where there is one.
pub(crate) fn terminals(has_tty_group: bool) -> io::Result<OwnedFd> {
    let mut options = vec![("mode", "0620"), ("ptmxmode", "0666")];
    if has_tty_group {
        options.push(("gid", "5"));
    }
    new("devpts", &options, attribute::NO_SUID | attribute::NO_EXEC)
}

fn place_plainly(root: &Root, mount: &OwnedFd, path: &str) -> Result<(), Failure> {
    // No link may lead a system mount elsewhere (CVE-2019-19921, CVE-2023-27561).
    let target = root
        .plain_directory(Path::new(path))
        .stage(STAGE, format_args!("cannot mount on {path}"))?;
    mount::place(mount, target).stage(STAGE, format_args!("cannot mount on {path}"))
}

/// Mounts proc; what is returned is proc for certain, for later writes.
pub(super) fn proc(root: &Root) -> Result<OwnedFd, Failure> {
    let proc = new("proc", &[], SAFE).stage(STAGE, "cannot mount proc")?;
    place_plainly(root, &proc, "/proc")?;
    expect_magic(&proc, magic::PROC, "/proc")?;
    Ok(proc)
}

fn expect_magic(fd: &OwnedFd, expected: i64, path: &str) -> Result<(), Failure> {
    match file::file_system(fd).stage(STAGE, path)? {
        found if found == expected => Ok(()),
        found => Err(Failure::refused(
            STAGE,
            format_args!("{path} is not what was mounted there ({found:#x})"),
        )),
    }
}

/// Mounts sysfs, read-only; where the network is the host's, a user has a copy of the host's mount.
pub(super) fn sys(root: &Root, writable: bool) -> Result<(), Failure> {
    let read_only = SAFE | if writable { 0 } else { attribute::READ_ONLY };
    let sys = new("sysfs", &[], read_only).or_else(|_| {
        let sys = mount::clone_tree(Path::new("/sys"), true)?;
        mount::set_attributes(&sys, read_only, true)?;
        Ok(sys)
    });
    let sys = sys.map_err(|error: io::Error| Failure::new(STAGE, "cannot mount sysfs", &error))?;
    place_plainly(root, &sys, "/sys")
}

/// Mounts the container's view of its control groups, read-only.
pub(super) fn control_groups(root: &Root, plan: &CgroupPlan, writable: bool) -> Result<(), Failure> {
    let what = "cannot mount control groups";
    let read_only = SAFE | if writable { 0 } else { attribute::READ_ONLY };
    match plan {
        CgroupPlan::None { .. } => Ok(()),
        CgroupPlan::V2 { .. } => {
            let group = new("cgroup2", &[], read_only).stage(STAGE, what)?;
            place_plainly(root, &group, "/sys/fs/cgroup")
        }
        CgroupPlan::V1 { controllers } => {
            let mut hierarchies: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
            for (controller, group) in controllers {
                if let Some(mount) = group.parent().and_then(Path::parent) {
                    hierarchies.entry(mount).or_default().push(controller);
                }
            }
            let memory = memory(&[("mode", "0755"), ("size", "64k")], SAFE).stage(STAGE, what)?;
            place_plainly(root, &memory, "/sys/fs/cgroup")?;
            for (mount, controllers) in hierarchies {
                let Some(name) = mount.file_name().map(Path::new) else {
                    continue;
                };
                let system = NewFileSystem::open("cgroup").stage(STAGE, what)?;
                for controller in &controllers {
                    system.flag(controller).stage(STAGE, what)?;
                    if Path::new(controller) != name {
                        file::symlink_at(name, &memory, Path::new(controller)).stage(STAGE, what)?;
                    }
                }
                let group = system
                    .mount(read_only)
                    .stage(STAGE, format_args!("{what} ({})", name.display()))?;
                file::mkdir_at(&memory, name, 0o755).stage(STAGE, what)?;
                let target = file::open_at(&memory, name, libc::O_PATH, 0).stage(STAGE, what)?;
                mount::place(group, target).stage(STAGE, what)?;
            }
            mount::set_attributes(&memory, read_only, false).stage(STAGE, what)
        }
    }
}

/// What the caller needs of `/dev` later.
pub(super) struct Devices {
    /// The file system itself.
    pub directory: OwnedFd,
    /// `/dev/null`, made by us.
    pub null: OwnedFd,
}

/// Mounts `/dev` with its nodes, terminals, shared memory and message queues.
///
/// In a user namespace nodes can't be made; the host's are bound, after a look that they are the right ones.
pub(super) fn devices(
    root: &Root,
    spec: &ContainerSpec,
    terminals: OwnedFd,
    console: Option<&OwnedFd>,
    shared_memory: Option<OwnedFd>,
) -> Result<Devices, Failure> {
    let what = "cannot make /dev";
    let options = [("mode", "0755"), ("size", "64k")];
    let dev = memory(&options, attribute::NO_SUID | attribute::NO_EXEC).stage(STAGE, what)?;
    place_plainly(root, &dev, "/dev")?;
    for (name, major, minor) in NODES {
        node(&dev, name, (major, minor), spec.id_map.is_identity())
            .stage(STAGE, format_args!("cannot make /dev/{name}"))?;
    }
    for (name, target) in LINKS {
        file::symlink_at(Path::new(target), &dev, Path::new(name)).stage(STAGE, what)?;
    }
    let below = |name: &str, mount: &OwnedFd| -> io::Result<()> {
        file::mkdir_at(&dev, Path::new(name), 0o755)?;
        mount::place(
            mount,
            file::open_at(&dev, Path::new(name), libc::O_PATH | libc::O_DIRECTORY, 0)?,
        )
    };
    below("pts", &terminals).stage(STAGE, "cannot mount /dev/pts")?;
    let size = spec.limits.shm_size.to_string();
    let shared = match shared_memory {
        Some(tree) => Some(tree),
        // It is to have none.
        None if spec.limits.shm_size == 0 => None,
        None => Some(memory(&[("mode", "1777"), ("size", &size)], SAFE).stage(STAGE, "/dev/shm")?),
    };
    if let Some(shared) = shared {
        below("shm", &shared).stage(STAGE, "cannot mount /dev/shm")?;
    }
    // A kernel may be built without message queues.
    if let Ok(queues) = new("mqueue", &[], SAFE) {
        below("mqueue", &queues).stage(STAGE, "cannot mount /dev/mqueue")?;
    }
    if let Some(console) = console {
        // By the descriptor that the terminal was opened with: no path that an image could replace (CVE-2025-52565).
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        let place = || -> io::Result<()> {
            file::open_at(&dev, Path::new("console"), flags, 0o600)?;
            let target = file::open_at(&dev, Path::new("console"), libc::O_PATH | libc::O_NOFOLLOW, 0)?;
            mount::place(mount::clone_tree_fd(console, false)?, target)
        };
        place().stage(STAGE, "cannot make /dev/console")?;
    }
    for device in &spec.devices.nodes {
        more_node(&dev, device, spec.id_map.is_identity())
            .stage(STAGE, format_args!("cannot make {}", device.path))?;
    }
    let null =
        file::open_at(&dev, Path::new("null"), libc::O_PATH | libc::O_NOFOLLOW, 0).stage(STAGE, what)?;
    Ok(Devices { directory: dev, null })
}

fn node(dev: &OwnedFd, name: &str, number: (u32, u32), may_make: bool) -> io::Result<()> {
    let path = Path::new(name);
    if may_make {
        return file::mknod_at(dev, path, libc::S_IFCHR | 0o666, number.0, number.1);
    }
    file::open_at(dev, path, libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o666)?;
    let host = file::open(&Path::new("/dev").join(name), libc::O_PATH | libc::O_NOFOLLOW)?;
    let status = file::status(&host)?;
    if status.kind() != libc::S_IFCHR || status.device != number {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    mount::place(
        mount::clone_tree_fd(&host, false)?,
        file::open_at(dev, path, libc::O_PATH, 0)?,
    )
}

/// A device that was asked for. One that every container has stays as it is.
fn more_node(dev: &OwnedFd, device: &DeviceNode, may_make: bool) -> io::Result<()> {
    let Ok(path) = Path::new(&device.path).strip_prefix("/dev") else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not below /dev",
        ));
    };
    let (Some(name), Some(folder)) = (path.file_name(), path.parent()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut directory = dev.try_clone()?;
    for part in folder.components() {
        let part = Path::new(part.as_os_str());
        match file::mkdir_at(&directory, part, 0o755) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        directory = file::open_at(&directory, part, flags, 0)?;
    }
    let name = Path::new(name);
    let (major, minor) = (device.rule.major.unwrap_or(0), device.rule.minor.unwrap_or(0));
    if may_make {
        let kind = if device.rule.block {
            libc::S_IFBLK
        } else {
            libc::S_IFCHR
        };
        match file::mknod_at(&directory, name, kind | device.mode, major, minor) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        }
        return match device.owner {
            (0, 0) => Ok(()),
            (uid, gid) => file::change_owner_at(&directory, name, uid, gid),
        };
    }
    let host = file::open(&device.source, libc::O_PATH | libc::O_NOFOLLOW)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    match file::open_at(&directory, name, flags, 0o666) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => drop(other?),
    }
    mount::place(
        mount::clone_tree_fd(&host, false)?,
        file::open_at(&directory, name, libc::O_PATH, 0)?,
    )
}
