//! Images from Dockerfiles: stages become a graph of steps, steps become layers in the store.
//!
//! A step's result is a list of layers. It is found again by what it was made from: the layers below, what the instruction
//! says, and the content that it reads. Steps run through the [`Executor`]; nothing of the host that they see is written.

mod agents;
mod attesting;
mod bases;
mod cache_files;
mod checking;
mod copy_plan;
mod copying;
mod debugging;
mod error;
mod exporting;
mod fetching;
mod file_digests;
mod git;
mod instructions;
mod lowering;
mod ownership;
mod ports;
mod provenance;
mod provenance_steps;
mod run_instruction;
mod running;
mod solving;
mod stage_state;
mod step_failure;
mod tree;
mod turns;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coil_fetch::{Fetcher, Progress};
use coil_oci::{Arch, Descriptor, Digest};
use coil_registry::Registries;
use coil_store::Store;

pub use attesting::Attestations;
pub use checking::{Checked, Outline, OutlineStage};
pub use coil_dockerfile::check::Warning;
pub use coil_dockerfile::ignore::{checked as check_ignore_patterns, patterns as ignore_patterns};
pub use error::{BuildError, FailedStep};
pub use git::{Git, GitError, GitSource, is_git, missing as git_is_missing};
pub use provenance::{Material, Provenance, ProvenanceForm, ProvenanceMode};

use crate::executor::{Executor, Step, StepBind, StepGroup, StepLimits, StepNetwork};
use crate::package_front::StepIndex;

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile's text.
    pub text: String,
    /// Its name, for messages.
    pub name: String,
    /// The context's folder; an empty context where there is none.
    pub context: Option<PathBuf>,
    /// The patterns of the ignore file, and its name for messages.
    pub ignored: (Vec<String>, String),
    /// Other contexts by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The last stage that is wanted; the file's last one when none is given.
    pub target: Option<String>,
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// Labels that are added to the image.
    pub labels: BTreeMap<String, String>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of agents by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// The platform of the image.
    pub arch: Arch,
    /// Whether no step is taken from the cache.
    pub no_cache: bool,
    /// The stages of which no step is taken from the cache.
    pub no_cache_stages: Vec<String>,
    /// Whether registries are asked even for images that are here.
    pub pull: bool,
    /// The network of steps.
    pub network: StepNetwork,
    /// More names that steps know.
    pub hosts: Vec<(String, IpAddr)>,
    /// Bytes of `/dev/shm` in steps.
    pub shared_memory: Option<u64>,
    /// What a step may use besides.
    pub limits: StepLimits,
    /// Where the control groups of steps are.
    pub group: StepGroup,
    /// Limits of steps' processes: Docker's name, the soft and the hard one.
    pub process_limits: Vec<(String, u64, u64)>,
    /// `SOURCE_DATE_EPOCH`: the time of everything that is made, in seconds since 1970.
    pub epoch: Option<u64>,
    /// What becomes of the times of files in layers.
    pub times: FileTimes,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Folders with what other builds have kept.
    pub cache_from: Vec<PathBuf>,
    /// Images that hold what their builds have kept.
    pub cache_images: Vec<String>,
    /// Whether the image holds what this build rests on, for other machines.
    pub inline_cache: bool,
    /// Whether a step may ask for all that the host's root may (`--allow security.insecure`).
    pub insecure: bool,
    /// The devices that steps may ask for (`--allow device`).
    pub devices: Vec<DeviceRight>,
    /// What the context is, where it was fetched.
    pub source: Option<Material>,
}

/// A device that steps may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceRight {
    /// All of them.
    All,
    /// One, or one kind.
    Named(String),
}

/// What becomes of the times of files in new layers, where there is an `epoch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileTimes {
    /// They stay.
    #[default]
    Kept,
    /// None is later than the epoch (BuildKit's `rewrite-timestamp`).
    NoLater,
    /// The same, and files of contexts have the epoch: a checkout's times don't count.
    Settled,
}

/// Another context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder(PathBuf),
    /// An image.
    Image(String),
    /// An image that is in the store without a name: what it is called in messages, and its manifest or index.
    Kept(String, Descriptor),
}

/// What steps see of the host; never written into a layer, a configuration or the cache.
#[derive(Debug, Clone, Default)]
pub struct HostView {
    /// Variables that a step has unless the Dockerfile sets them.
    pub env: Vec<(String, String)>,
    /// Files.
    pub binds: Vec<StepBind>,
    /// The index that pip asks, where coil may answer for it; none where the steps' pip is on its own.
    pub index: Option<StepIndex>,
}

/// What a build works with.
pub struct Builder<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// The way to the network, for `ADD` of addresses.
    pub fetcher: &'a Fetcher,
    /// What git repositories are fetched with, where it is installed.
    pub git: Option<Git>,
    /// Image registries; none where only the store is asked.
    pub registries: Option<&'a Registries<'a>>,
    /// Runs steps; none where no container can be made.
    pub executor: Option<&'a dyn Executor>,
    /// Who is told of downloads.
    pub downloads: &'a dyn Progress,
    /// Who is told of steps.
    pub events: &'a dyn BuildEvents,
    /// Who looks into a step that failed.
    pub debugger: Option<&'a dyn Debugger>,
    /// What steps see of the host.
    pub host: HostView,
    /// A folder in memory for secrets; made when one is used.
    pub private: &'a Path,
    /// Since 1970.
    pub now: Duration,
    /// How many steps run at the same time.
    pub threads: usize,
}

/// What came of a build.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image's manifest.
    pub descriptor: Descriptor,
    /// Its id: its configuration's digest.
    pub id: Digest,
    /// How many steps there were, and how many of them were found in the cache.
    pub steps: (usize, usize),
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// The records of the cache that it rests on.
    pub records: Vec<String>,
    /// How it was made.
    pub provenance: Provenance,
}

/// Who is told what a build does. Steps are known by their number, counted from 1.
pub trait BuildEvents: Sync {
    /// There are so many steps.
    fn planned(&self, steps: usize);
    /// A step begins.
    fn begin(&self, step: usize, name: &str);
    /// A step was found in the cache.
    fn cached(&self, step: usize, name: &str);
    /// A step's program prints.
    fn output(&self, step: usize, bytes: &[u8]);
    /// A step is done.
    fn done(&self, step: usize);
    /// A step failed.
    fn failed(&self, step: usize, name: &str, why: &str);
    /// Something that the user should know.
    fn note(&self, text: &str);
}

/// Looks into a step that failed, before anything of it is removed.
pub trait Debugger: Sync {
    /// The step as it was run: its folder with what it wrote, its mounts and its secrets are there until this returns.
    fn failed(&self, step: &Step, why: &FailedStep);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct NoEvents;

impl BuildEvents for NoEvents {
    fn planned(&self, _steps: usize) {}
    fn begin(&self, _step: usize, _name: &str) {}
    fn cached(&self, _step: usize, _name: &str) {}
    fn output(&self, _step: usize, _bytes: &[u8]) {}
    fn done(&self, _step: usize) {}
    fn failed(&self, _step: usize, _name: &str, _why: &str) {}
    fn note(&self, _text: &str) {}
}
