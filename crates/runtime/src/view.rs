//! A container's files as it sees them, for whoever copies: the layers, its writes and its mounts, without its processes.
//!
//! A helper, our own binary again, makes a mount namespace (in a user namespace where there is no root), mounts
//! everything there and hands the root over as a descriptor. The mounts last as long as the view: they are the helper's,
//! and nobody else sees them.

use crate::failure::{Failure, Stage};
use crate::init::root::Root;
use crate::init::{file_systems, mounts};
use crate::spec::{ContainerSpec, MountKind};
use crate::user_namespace;
use coil_sys::mount::{self, propagation};
use coil_sys::{descriptor_passing, file, process};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const STAGE: &str = "view";

/// An open root directory of a container.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    _keeper: Option<Keeper>,
}

/// The helper that holds the mounts; it ends when its socket does.
#[derive(Debug)]
struct Keeper {
    socket: Option<UnixStream>,
    child: Child,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.socket.take());
        // Its mounts are gone when it is: whoever comes next may mount the same folders.
        let _ = self.child.wait();
    }
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl View {
    /// The root of a process that runs, with everything that is mounted there.
    ///
    /// # Errors
    /// When it has ended, or may not be looked at.
    pub fn of_process(pid: i32) -> io::Result<View> {
        let path = format!("/proc/{pid}/root");
        let root = file::open(Path::new(&path), libc::O_PATH | libc::O_DIRECTORY)?;
        Ok(View { root, _keeper: None })
    }

    /// The root of a container that doesn't run: layers, its own writes, and the mounts of its spec that outlive it.
    ///
    /// `program` is our own binary. Nobody may start the container meanwhile.
    ///
    /// # Errors
    /// When something can't be mounted.
    pub fn open(program: &Path, spec: &ContainerSpec) -> Result<View, Failure> {
        let rootfs = spec.container_dir.join("rootfs");
        for (path, mode) in [(spec.upper(), 0o755), (spec.work(), 0o700), (rootfs, 0o755)] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .stage(STAGE, path.display())?;
        }
        let (ours, theirs) = UnixStream::pair().stage(STAGE, "socket")?;
        let child = Command::new(program)
            .arg0("coil")
            .args(["internal", "view"])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .stage(STAGE, "cannot run coil again")?;
        let keeper = Keeper {
            socket: Some(ours.try_clone().stage(STAGE, "socket")?),
            child,
        };
        let bytes = serde_json::to_vec(spec).map_err(io::Error::from);
        let sent = bytes.and_then(|bytes| {
            (&ours).write_all(&(bytes.len() as u64).to_le_bytes())?;
            (&ours).write_all(&bytes)
        });
        sent.stage(STAGE, "the helper")?;
        let (byte, mut descriptors) = descriptor_passing::receive(&ours)
            .stage(STAGE, "the helper")?
            .ok_or_else(|| Failure::refused(STAGE, "the helper ended without a word"))?;
        match descriptors.pop() {
            Some(root) if byte == 0 => Ok(View {
                root,
                _keeper: Some(keeper),
            }),
            _ => {
                let mut text = Vec::new();
                // Whatever it could say.
                let _ = (&ours).read_to_end(&mut text);
                Err(serde_json::from_slice(&text)
                    .unwrap_or_else(|_| Failure::refused(STAGE, "the helper ended without a word")))
            }
        }
    }
}

/// `coil internal view`: mounts what the socket on standard input says, hands the root over, and stays until that socket ends.
pub fn view_main() -> i32 {
    let Ok(socket) = file::inherited(0).map(UnixStream::from) else {
        return 125;
    };
    match show(&socket) {
        Ok(root) => {
            if descriptor_passing::send(&socket, 0, &[root.as_fd()]).is_err() {
                return 125;
            }
            // Until the other end is closed, whatever way its owner went.
            let _ = (&socket).read(&mut [0]);
            0
        }
        Err(failure) => {
            let _ = descriptor_passing::send(&socket, 1, &[]);
            let _ = (&socket).write_all(&serde_json::to_vec(&failure).unwrap_or_default());
            125
        }
    }
}

fn show(mut socket: &UnixStream) -> Result<Root, Failure> {
    let mut length = [0; 8];
    socket.read_exact(&mut length).stage(STAGE, "the request")?;
    let mut bytes = Vec::new();
    socket
        .take(u64::from_le_bytes(length))
        .read_to_end(&mut bytes)
        .stage(STAGE, "the request")?;
    let mut spec: ContainerSpec = serde_json::from_slice(&bytes)
        .map_err(io::Error::from)
        .stage(STAGE, "the request")?;
    // Memory has nothing in it before the start, and a source that is gone has nothing to show.
    spec.mounts.retain(|mount| match &mount.kind {
        MountKind::Bind { source } => source.exists(),
        MountKind::Within { folder, .. } => folder.exists(),
        MountKind::FileSystem { .. } => true,
        MountKind::Tmpfs { .. } => false,
    });
    match spec.id_map.is_identity() {
        true => process::unshare(libc::CLONE_NEWNS).stage(STAGE, "cannot make a mount namespace")?,
        false => user_namespace::enter(&spec.id_map)?,
    }
    mount::set_propagation_below(Path::new("/"), propagation::SLAVE).stage(STAGE, "/")?;
    let root = file_systems::root(&spec)?;
    mounts::name_files(&root, &spec)?;
    mounts::user_mounts(&root, &spec.mounts)?;
    Ok(root)
}
