//! The facade: images, containers and packs, in plain requests and replies.
//!
//! The engine knows no terminal, reads no environment and prints nothing. What it does is what any front end
//! (the command line today, a socket later) offers.

#![recursion_limit = "256"]

pub mod base_images;
pub mod bills;
mod change;
pub mod clock;
pub mod commit;
pub mod container_filter;
pub mod copy;
mod create;
pub mod device_interface;
pub mod differences;
pub mod disk_usage;
pub mod doctor;
pub mod event_reader;
pub mod events;
mod exec;
mod executor;
mod files;
mod find;
pub mod health;
pub mod image_build;
mod image_changes;
pub mod image_filter;
pub mod images;
pub mod inspect;
mod inspect_host;
pub mod layout_folder;
pub mod lifecycle;
pub mod load;
mod log_files;
pub mod log_options;
pub mod logs;
mod making;
mod mount_points;
pub mod networks;
pub mod options;
pub mod pack;
pub mod prune;
pub mod pull;
pub mod quantity;
pub mod record;
mod request;
mod run_error;
mod save;
mod start;
pub mod usage;
pub mod user_ids;
pub mod volumes;
mod words;

use std::io;
use std::path::PathBuf;

use coil_runtime::spec::IdMap;
use coil_store::{Store, StoreError};

pub use change::UpdateRequest;
pub use coil_runtime::control::{Client, Exit, Message};
pub use coil_runtime::detach_keys;
pub use coil_runtime::ports::{PortMapping, Protocol, PublishError, parse_publish};
pub use coil_runtime::restart::RestartPolicy;
pub use coil_runtime::spec::{DeviceLimit, DiskLimits, Limits, Rlimit};
pub use coil_runtime::state::{State, Status};
pub use exec::{ExecError, ExecRequest, Stdio3};
pub use find::FindError;
pub use lifecycle::{ContainerError, StopRequest, signal_number};
pub use request::{Created, RunRequest, StartRequest, Started};
pub use run_error::{RunError, RunFailure};

/// What an engine works with.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Where live state is kept; gone after a boot.
    pub run_root: PathBuf,
    /// This program, to be run as a monitor.
    pub program: PathBuf,
    /// Whether the data root is the machine's own, whose network has the plain name.
    pub default_root: bool,
    /// The text of the host's `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The text of systemd-resolved's own `resolv.conf`, where it is.
    pub resolved_conf: Option<String>,
    /// The text of the host's `/etc/hosts`.
    pub hosts: String,
    /// Folders with files that describe devices by name.
    pub device_folders: Vec<PathBuf>,
    /// The user and group that coil runs as.
    pub ids: (u32, u32),
    /// The programs that may connect an ordinary user's containers to other machines.
    pub connectors: Vec<PathBuf>,
    /// The ids of an ordinary user's containers.
    pub user_ids: UserIds,
}

/// The ids of an ordinary user's containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum UserIds {
    /// One, with what the user should know of it once.
    One(Option<String>),
    /// All of these: coil itself is inside the user namespace that has them.
    Mapped(IdMap),
    /// The machine's: coil runs as root.
    #[default]
    Host,
}

/// Images, containers and packs of one data root.
#[derive(Clone)]
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) options: EngineOptions,
    pub(crate) run_root: PathBuf,
}

impl Engine {
    /// An engine over a store.
    pub fn new(store: Store, options: EngineOptions) -> Engine {
        let run_root = options.run_root.clone();
        Engine {
            store,
            options,
            run_root,
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether coil runs as root of the machine.
    pub fn is_root(&self) -> bool {
        self.options.ids.0 == 0
    }

    /// Whether files may belong to others than who runs coil: as root, or where a user has a range of ids.
    pub fn owns_ids(&self) -> bool {
        self.is_root() || matches!(self.options.user_ids, UserIds::Mapped(_))
    }

    /// Which host ids the ids of a container are, in which one user and group are wanted most.
    pub(crate) fn id_map(&self, uid: u32, gid: u32) -> IdMap {
        match (&self.options.user_ids, self.options.ids) {
            _ if self.is_root() => IdMap::default(),
            (UserIds::Mapped(map), _) => map.clone(),
            (_, (own_uid, own_gid)) => IdMap::one(uid, gid, own_uid, own_gid),
        }
    }
}

/// `coil internal monitor DIRECTORY` and `coil internal exec DIRECTORY FILE`: what coil runs of itself.
///
/// Gives the exit code; 125 for anything else.
pub fn internal_main(args: &[String]) -> i32 {
    match args.split_first() {
        Some((word, rest)) if word == "monitor" => coil_runtime::monitor_main(rest),
        Some((word, rest)) if word == "household" => coil_runtime::keeper_main(rest),
        Some((word, rest)) if word == "try-ids" => coil_runtime::subordinate_ids::attempt_main(rest),
        Some((word, _)) if word == "view" => coil_runtime::view_main(),
        Some((word, rest)) if word == "exec" => coil_runtime::exec_main(rest),
        _ => 125,
    }
}

pub(crate) fn store_io(doing: &str) -> impl FnOnce(io::Error) -> StoreError {
    let doing = doing.to_owned();
    move |source| StoreError::Io { doing, source }
}
