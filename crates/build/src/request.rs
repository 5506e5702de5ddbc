//! What a pack is asked for, and what comes of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use coil_debian::SourcesConfig;
use coil_fetch::{Fetcher, Progress};
use coil_oci::{Arch, Descriptor, Digest, Reference};
use coil_plan::LayerKind;
use coil_python::{CommandSetting, ProjectWishes};
use coil_registry::Registries;
use coil_store::Store;
use coil_wheel::index::IndexSettings;
use serde::Serialize;

use crate::executor::Executor;

/// Whether packages are built from their sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormatWish {
    /// True: never built. False: built even where a wheel fits.
    pub wheels: bool,
    /// The packages; `:all:` for every one, `:none:` takes back what was said before.
    pub names: Vec<String>,
    /// Who says so: `PIP_NO_BINARY`.
    pub said: String,
}

/// What is to be packed, and how; flags win over `[tool.coil]`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PackRequest {
    /// The project's folder.
    pub dir: PathBuf,
    /// The platforms; those of `[tool.coil]`, or this machine's, when none is given.
    pub platforms: Vec<Arch>,
    /// The suite of the base.
    pub base: Option<String>,
    /// The Python: `3.13`.
    pub python: Option<String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// User and group that the program runs as.
    pub user: Option<String>,
    /// The start command.
    pub command: Option<CommandSetting>,
    /// Ports that the program listens on: `8000`, `8000/tcp`, `53/udp`.
    pub ports: Vec<String>,
    /// Debian packages that are added to the base, beside those of `[tool.coil]`.
    pub apt: Vec<String>,
    /// Whether the packages of libraries that wheels lack are added too.
    pub auto_apt: bool,
    /// Debian packages that sources are built with, beside those of `[tool.coil]`.
    pub build_apt: Vec<String>,
    /// Whether builds of sources reach the network, even where `[tool.coil]` doesn't say so.
    pub build_network: bool,
    /// Packages that are built from their sources even where a wheel fits; `:all:` for every one.
    pub no_binary: Vec<String>,
    /// Packages that are never built; `:all:` for every one.
    pub only_binary: Vec<String>,
    /// What the machine's pip says of the two; the project's files win over it.
    pub machine_formats: Vec<FormatWish>,
    /// What variables for uv say of the two; they win over the project's files, and flags over them.
    pub variable_formats: Vec<FormatWish>,
    /// What of the project's lock is packed: extras, groups, the workspace's member.
    pub wishes: ProjectWishes,
    /// Whether the image ships no bytecode, even where `[tool.coil]` doesn't say so.
    pub no_bytecode: bool,
    /// Whether `coil.lock` must be there and fit.
    pub locked: bool,
    /// Whether what `coil.lock` pins is found afresh, and pinned as it is then.
    pub upgrade: bool,
    /// The time of every file, in seconds since 1970.
    pub epoch: u64,
}

/// What a pack works with.
pub struct Packer<'a> {
    /// Where everything is kept.
    pub store: &'a Store,
    /// The way to the network.
    pub fetcher: &'a Fetcher,
    /// The package indices.
    pub index: &'a IndexSettings,
    /// Reads Debian's mirrors from the host's configuration; asked only when a base must be found or fetched.
    pub sources: &'a (dyn Fn() -> SourcesConfig + Sync),
    /// Whether an index whose time has run out is taken all the same.
    pub allow_expired: bool,
    /// uv, where it is installed.
    pub uv: Option<&'a Path>,
    /// Environment for uv: certificates, proxies, the netrc file.
    pub uv_environment: &'a [(OsString, OsString)],
    /// The values for `${NAME}` in requirements files.
    pub variables: &'a BTreeMap<String, String>,
    /// Image registries, for bases from elsewhere; none where only the store is asked.
    pub registries: Option<&'a Registries<'a>>,
    /// Seconds since 1970, by which a name that is given to a pulled base is dated; it is in no image.
    pub now: u64,
    /// Who is told what happens.
    pub progress: &'a dyn Progress,
    /// Runs what must run in a container; none where no container can be made.
    pub executor: Option<&'a dyn Executor>,
    /// How many threads work; changes no byte.
    pub threads: usize,
}

/// What came of a pack.
#[derive(Debug, Clone)]
pub struct Packed {
    /// What a name stands for: a manifest, or an index when there are several platforms.
    pub descriptor: Descriptor,
    /// The image's name where none was given: the project's.
    pub default_name: Reference,
    /// Each platform's image.
    pub images: Vec<PackedImage>,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// One platform's image, and how it came to be what it is.
#[derive(Debug, Clone, Serialize)]
pub struct PackedImage {
    /// The platform: `linux/amd64`.
    pub platform: String,
    /// The manifest's digest.
    pub manifest: Digest,
    /// The image's id: its configuration's digest.
    pub id: Digest,
    /// The interpreter, and why it was chosen.
    pub python: Chosen,
    /// The base, and why it was chosen.
    pub base: Chosen,
    /// Where the list of packages comes from: `uv.lock`.
    pub packages_from: String,
    /// The start command.
    pub command: Vec<String>,
    /// Where it was found.
    pub command_found_in: String,
    /// User and group.
    pub user: String,
    /// Why it is that one, in a few words; empty for the usual one.
    pub user_reason: String,
    /// The environment that the image adds.
    pub env: BTreeMap<String, String>,
    /// Ports that the program listens on.
    pub ports: Vec<String>,
    /// The layers, the lowest first.
    pub layers: Vec<LayerReport>,
}

/// Something that was chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Chosen {
    /// What.
    pub value: String,
    /// Why.
    pub reason: String,
}

/// One layer, for people and programs.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// What it holds.
    pub kind: LayerKind,
    /// The blob's digest.
    pub digest: Digest,
    /// The digest of its tar stream.
    pub diff_id: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// The tar stream's size in bytes.
    pub unpacked: u64,
    /// The packages in it, `name version`.
    pub packages: Vec<String>,
}
