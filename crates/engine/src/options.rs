//! What of a container concerns the host: privileges, namespaces, devices, limits of processes; and how a start takes it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use coil_runtime::capabilities::{self, ALL, CapabilitySet};
use coil_runtime::seccomp;
use coil_runtime::spec::{ContainerSpec, DeviceNode, DeviceRule, Namespace, Rlimit, SeccompPolicy};
use coil_runtime::user;
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::device_interface::{self, GpuRequest, Library};
use crate::lifecycle::{self, ContainerError};
use crate::log_options::LogOptions;
use crate::record::ContainerRecord;
use crate::run_error::RunError;

/// What a container may do on the host; as it was asked for, so that a start sees the host as it is then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The NIS domain name.
    pub domainname: String,
    /// A small init as process 1.
    pub init: bool,
    /// All capabilities, all devices, nothing hidden.
    pub privileged: bool,
    /// Capabilities besides the default ones.
    pub cap_add: Vec<String>,
    /// Capabilities that are taken away.
    pub cap_drop: Vec<String>,
    /// `--security-opt` as given.
    pub security: Vec<String>,
    /// The text of a seccomp profile that was named there.
    pub seccomp_profile: Option<String>,
    /// `HOST[:INSIDE[:rwm]]`.
    pub devices: Vec<String>,
    /// `c 1:3 rwm`.
    pub device_rules: Vec<String>,
    /// `host`, `container:NAME` or nothing.
    pub pid: String,
    /// `host`, `container:NAME`, `private`, `shareable`, `none` or nothing.
    pub ipc: String,
    /// `host` or nothing.
    pub uts: String,
    /// `host` or nothing.
    pub userns: String,
    /// `host`, `private` or nothing.
    pub cgroupns: String,
    /// More groups, by name or number.
    pub group_add: Vec<String>,
    /// Limits of processes.
    pub ulimits: Vec<Rlimit>,
    /// Kernel settings of the container's own.
    pub sysctls: BTreeMap<String, String>,
    /// How readily the kernel ends it, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The control group above the container's.
    pub cgroup_parent: String,
    /// The signal that asks it to stop, as the image or the user named it; SIGTERM when nobody did.
    pub stop_signal: String,
    /// Where its output is kept.
    pub log: LogOptions,
    /// `--gpus`.
    pub gpus: Option<GpuRequest>,
    /// The program that runs containers, by Docker's name for it.
    pub runtime: String,
    /// `default` or nothing: Windows alone has others.
    pub isolation: String,
    /// `--storage-opt` as given.
    pub storage: Vec<String>,
    /// Notes for others; kept, never read here.
    pub annotations: BTreeMap<String, String>,
}

/// What the words of `--security-opt` come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Security {
    no_new_privileges: bool,
    unconfined: bool,
    profile: bool,
    open_paths: bool,
}

fn refused(message: impl Into<String>, help: &str) -> RunError {
    RunError::Refused {
        message: message.into(),
        help: Some(help.to_owned()),
        code: 125,
    }
}

/// What is wrong about a flag's value by itself.
fn misused(message: impl Into<String>, help: &str) -> RunError {
    RunError::Flag {
        message: message.into(),
        help: help.to_owned(),
    }
}

fn security(words: &[String]) -> Result<Security, RunError> {
    let mut found = Security::default();
    for word in words {
        let (key, value) = word
            .split_once(['=', ':'])
            .map_or((word.as_str(), None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => found.no_new_privileges = true,
            ("no-new-privileges", Some("false")) => found.no_new_privileges = false,
            ("seccomp", Some("unconfined")) => found.unconfined = true,
            ("seccomp", Some("builtin")) => {}
            ("seccomp", Some(_)) => found.profile = true,
            ("systempaths", Some("unconfined")) => found.open_paths = true,
            // There is neither of these between coil and the kernel, so to switch it off says what is so.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor" | "label", Some(_)) => {
                return Err(misused(
                    format!("--security-opt {word}: coil sets no {key} profile"),
                    "leave it out, or give apparmor=unconfined or label=disable",
                ));
            }
            _ => {
                return Err(misused(
                    format!("invalid --security-opt: \"{word}\""),
                    "give no-new-privileges, seccomp=FILE, seccomp=unconfined or systempaths=unconfined",
                ));
            }
        }
    }
    Ok(found)
}

/// Reads `c 1:3 rwm`.
fn device_rule(text: &str) -> Option<Vec<DeviceRule>> {
    let mut words = text.split_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        text => text.parse::<u32>().ok().map(Some),
    };
    let kinds: &[bool] = match kind {
        "c" => &[false],
        "b" => &[true],
        "a" => &[false, true],
        _ => return None,
    };
    if words.next().is_some() || !is_access(access) {
        return None;
    }
    let (major, minor) = (number(major)?, number(minor)?);
    let rule = |block: &bool| DeviceRule {
        block: *block,
        major,
        minor,
        access: access.to_owned(),
    };
    Some(kinds.iter().map(rule).collect())
}

fn is_access(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| "rwm".contains(letter))
}

fn node(source: &Path, path: &str, access: &str) -> Option<DeviceNode> {
    let data = fs::metadata(source).ok()?;
    let kind = data.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return None;
    }
    Some(DeviceNode {
        source: source.to_owned(),
        path: path.to_owned(),
        rule: DeviceRule {
            block: kind.is_block_device(),
            major: Some(device_interface::libc_major(data.rdev())),
            minor: Some(device_interface::libc_minor(data.rdev())),
            access: access.to_owned(),
        },
        mode: data.mode() & 0o777,
        owner: (data.uid(), data.gid()),
    })
}

/// Every device below a folder; terminals and what every container has of its own are left out.
fn nodes_below(folder: &Path, inside: &str, access: &str, found: &mut Vec<DeviceNode>, depth: u32) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{inside}/{name}");
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            let own = ["pts", "shm", "fd", "mqueue", ".udev", ".lxc", ".lxd-mounts"];
            if depth < 6 && !own.contains(&name.as_str()) {
                nodes_below(&entry.path(), &path, access, found, depth + 1);
            }
        } else if name != "console" && !kind.is_symlink() {
            found.extend(node(&entry.path(), &path, access));
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
}

/// The devices that a `--device` means.
fn devices(flag: &str) -> Result<Vec<DeviceNode>, RunError> {
    let help = "give --device HOST_PATH[:PATH][:rwm], such as --device /dev/fuse";
    if !flag.starts_with('/') {
        return Err(misused(format!("{flag} is not an absolute path"), help));
    }
    let mut parts = flag.split(':');
    let source = parts.next().unwrap_or_default();
    let (path, access) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => (source, "rwm"),
        (Some(access), None, _) if is_access(access) => (source, access),
        (Some(path), None, _) => (path, "rwm"),
        (Some(path), Some(access), None) if is_access(access) => (path, access),
        (Some(_), Some(access), None) => return Err(misused(format!("bad mode specified: {access}"), help)),
        _ => return Err(misused(format!("invalid device specification: {flag}"), help)),
    };
    let mut found = Vec::new();
    let source = Path::new(source);
    if source.is_dir() {
        nodes_below(source, path.trim_end_matches('/'), access, &mut found, 0);
    } else {
        found.extend(node(source, path, access));
    }
    if found.is_empty() {
        let (reason, code) = match fs::metadata(source) {
            Ok(_) => ("not a device node", 125),
            Err(_) => ("no such file or directory", 127),
        };
        return Err(RunError::Refused {
            message: format!(
                "error gathering device information while adding custom device \"{}\": {reason}",
                source.display()
            ),
            help: Some(help.to_owned()),
            code,
        });
    }
    Ok(found)
}

impl Options {
    /// Looks at what can be seen to be wrong without the host.
    pub(crate) fn check(&self, root: bool, owns_ids: bool) -> Result<(), RunError> {
        capabilities::adjusted(&self.cap_add, &self.cap_drop)
            .map_err(|message| refused(message, "give names such as NET_ADMIN, or ALL"))?;
        security(&self.security)?;
        if !self.stop_signal.is_empty() && lifecycle::signal_number(&self.stop_signal).is_none() {
            return Err(refused(
                format!("invalid signal: {}", self.stop_signal),
                "give a name such as TERM, or a number from 1 to 64",
            ));
        }
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            return Err(refused(
                format!("Invalid value {score}, range for oom score adj is [-1000, 1000]"),
                "give a number from -1000 to 1000",
            ));
        }
        let of_container = |mode: &str| {
            mode.strip_prefix("container:")
                .is_some_and(|name| !name.is_empty())
        };
        for (name, mode, words, may_share) in [
            (
                "--pid: invalid PID mode",
                &self.pid,
                &["", "host", "private"][..],
                true,
            ),
            (
                "invalid IPC mode",
                &self.ipc,
                &["", "host", "private", "shareable", "none"][..],
                true,
            ),
            (
                "--uts: invalid UTS mode",
                &self.uts,
                &["", "host", "private"][..],
                false,
            ),
            (
                "--userns: invalid USER mode",
                &self.userns,
                &["", "host"][..],
                false,
            ),
            (
                "invalid cgroup namespace mode",
                &self.cgroupns,
                &["", "host", "private"][..],
                false,
            ),
        ] {
            let known = words.contains(&mode.as_str()) || may_share && of_container(mode);
            if !known {
                let (message, help) = (
                    format!("{name}: {mode}"),
                    "give host or private, or where it can be shared container:NAME",
                );
                return Err(match name.starts_with("--") {
                    true => misused(message, help),
                    false => refused(message, help),
                });
            }
            let of_host = mode == "host" && !name.contains("cgroup");
            // Containers of one user namespace may share others; a monitor that joins processes could not come back.
            let shares = owns_ids && !name.starts_with("--pid");
            if !root && (of_host || of_container(mode) && !shares) {
                return Err(refused(
                    format!("{} {mode} needs root", name.split(':').next().unwrap_or_default()),
                    "leave it out, or run coil as root",
                ));
            }
        }
        if self.uts == "host" && !self.domainname.is_empty() {
            return Err(refused(
                "conflicting options: domainname and the UTS mode",
                "leave one of --uts host and --domainname out",
            ));
        }
        if self.cgroup_parent.split('/').any(|part| part == "..") {
            return Err(refused(
                format!("--cgroup-parent {}: it may not lead upwards", self.cgroup_parent),
                "give a path such as /apps",
            ));
        }
        for text in &self.device_rules {
            if device_rule(text).is_none() {
                return Err(misused(
                    format!(
                        "invalid argument \"{text}\" for \"--device-cgroup-rule\" flag: invalid device cgroup format '{text}'"
                    ),
                    "give --device-cgroup-rule 'c 1:3 rwm'",
                ));
            }
        }
        self.log.check()?;
        self.check_platform()?;
        self.devices.iter().try_for_each(|flag| {
            let bad = flag.is_empty() || flag.contains("..");
            match bad {
                true => Err(misused(
                    format!("invalid device specification: {flag}"),
                    "give --device /dev/fuse",
                )),
                false => Ok(()),
            }
        })
    }
}

impl Options {
    /// What there is on other systems, or with other engines, alone.
    fn check_platform(&self) -> Result<(), RunError> {
        if !["", "coil", "runc", "io.containerd.runc.v2"].contains(&self.runtime.as_str()) {
            return Err(refused(
                format!("unknown or invalid runtime name: {}", self.runtime),
                "coil starts containers itself: leave --runtime out, or give runc, which stands for the usual one",
            ));
        }
        if !["", "default"].contains(&self.isolation.as_str()) {
            return Err(refused(
                format!(
                    "invalid isolation ({}): linux only supports 'default'",
                    self.isolation
                ),
                "leave --isolation out",
            ));
        }
        if let Some(option) = self.storage.first() {
            return Err(refused(
                format!("--storage-opt {option}: coil can't limit the size of a container's files"),
                "leave it out, or mount a volume with a size: --tmpfs PATH:size=64m",
            ));
        }
        Ok(())
    }
}

impl Engine {
    /// Writes what the options say into the spec, for the host as it is now.
    pub(crate) fn apply(&self, record: &ContainerRecord, spec: &mut ContainerSpec) -> Result<(), RunError> {
        let options = &record.options;
        let security = security(&options.security)?;
        spec.domainname.clone_from(&options.domainname);
        spec.init = options.init;
        spec.oom_score_adj = options.oom_score_adj;
        spec.rlimits.clone_from(&options.ulimits);
        spec.sysctls.clone_from(&options.sysctls);
        spec.no_new_privileges = security.no_new_privileges;
        spec.any_signal_stops = options.stop_signal.is_empty();
        spec.log = options.log.spec(record, spec)?;
        spec.capabilities = match options.privileged {
            true => ALL.iter().map(|(capability, _)| *capability).collect(),
            false => capabilities::adjusted(&options.cap_add, &options.cap_drop)
                .map_err(|message| refused(message, "give names such as NET_ADMIN, or ALL"))?,
        };
        if options.privileged || security.open_paths {
            spec.masked_paths.clear();
            spec.readonly_paths.clear();
        }
        if options.privileged || security.unconfined {
            spec.seccomp = SeccompPolicy::Unconfined;
        } else if let (true, Some(text)) = (security.profile, &options.seccomp_profile) {
            let program = seccomp::compile(text, CapabilitySet::of(&spec.capabilities), kernel()).map_err(
                |reason| {
                    refused(
                        format!("the seccomp profile can't be used: {reason}"),
                        "give a profile in Docker's JSON format",
                    )
                },
            )?;
            let code = program
                .iter()
                .map(|step| (step.code, step.jump_true, step.jump_false, step.value));
            spec.seccomp = SeccompPolicy::Program(code.collect());
        }
        spec.writable_system = options.privileged;
        if options.privileged && self.is_root() {
            spec.devices.all = true;
            nodes_below(Path::new("/dev"), "/dev", "rwm", &mut spec.devices.nodes, 0);
        }
        for flag in options
            .devices
            .iter()
            .filter(|flag| !device_interface::is_name(flag))
        {
            spec.devices.nodes.extend(devices(flag)?);
        }
        for text in &options.device_rules {
            spec.devices.rules.extend(device_rule(text).unwrap_or_default());
        }
        spec.pid = self.namespace(&options.pid)?;
        spec.ipc = self.namespace(&options.ipc)?;
        if options.ipc == "none" {
            spec.limits.shm_size = 0;
        }
        spec.uts = self.namespace(&options.uts)?;
        spec.cgroup_namespace = self.namespace(&options.cgroupns)?;
        self.add_groups(options, spec)?;
        self.named_devices(options, spec)
    }

    /// Devices by the names that vendors give them.
    pub(crate) fn named_devices(&self, options: &Options, spec: &mut ContainerSpec) -> Result<(), RunError> {
        let named = options
            .devices
            .iter()
            .filter(|flag| device_interface::is_name(flag));
        let mut names: Vec<String> = named.cloned().collect();
        if names.is_empty() && options.gpus.is_none() {
            return Ok(());
        }
        let library = Library::read(&self.options.device_folders);
        if let Some(gpus) = &options.gpus {
            names.extend(gpus.names(&library)?);
        }
        library.give(&names, spec)
    }

    fn add_groups(&self, options: &Options, spec: &mut ContainerSpec) -> Result<(), RunError> {
        if options.group_add.is_empty() {
            return Ok(());
        }
        let upper = spec.upper();
        for group in &options.group_add {
            let upper = upper.is_dir().then_some(upper.as_path());
            let number = user::resolve_group(&spec.layers, upper, group).map_err(RunError::User)?;
            if !spec.user.groups.contains(&number) {
                spec.user.groups.push(number);
            }
        }
        Ok(())
    }

    fn namespace(&self, mode: &str) -> Result<Namespace, RunError> {
        match mode.strip_prefix("container:") {
            Some(name) => {
                let container = self.container(name).map_err(ContainerError::Find)?;
                match container.state.pid {
                    pid if pid > 0 && container.is_running() => Ok(Namespace::Of(pid)),
                    _ => Err(RunError::Refused {
                        message: format!(
                            "cannot join the namespace of a non running container: container {name} is not running"
                        ),
                        help: Some(format!("start it first: `coil start {name}`")),
                        code: 125,
                    }),
                }
            }
            None if mode == "host" => Ok(Namespace::Host),
            None => Ok(Namespace::Own),
        }
    }
}

/// The kernel's version, its first two numbers.
fn kernel() -> (u32, u32) {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = text
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// The folder that a path of a seccomp profile is read from stands in the flag; here only its name is kept.
pub fn profile_path(words: &[String]) -> Option<PathBuf> {
    words
        .iter()
        .filter_map(|word| {
            word.strip_prefix("seccomp=")
                .or_else(|| word.strip_prefix("seccomp:"))
        })
        .rfind(|value| !["unconfined", "builtin"].contains(value))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_words_are_dockers() {
        let read = |words: &[&str]| security(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let found = read(&["no-new-privileges", "seccomp=unconfined", "apparmor=unconfined"]).unwrap();
        assert!(found.no_new_privileges && found.unconfined && !found.open_paths);
        assert!(!read(&["no-new-privileges:false"]).unwrap().no_new_privileges);
        assert!(read(&["seccomp:/a/b.json"]).unwrap().profile);
        assert!(read(&["foo=bar"]).is_err() && read(&["apparmor=mine"]).is_err());
        let words = ["seccomp=/a/b.json".to_owned()];
        assert_eq!(profile_path(&words), Some("/a/b.json".into()));
    }

    #[test]
    fn devices_are_named_in_several_ways() {
        let found = devices("/dev/null:/dev/nothing:r").unwrap();
        assert_eq!(
            (found[0].path.as_str(), found[0].rule.access.as_str()),
            ("/dev/nothing", "r")
        );
        assert_eq!((found[0].rule.major, found[0].rule.minor), (Some(1), Some(3)));
        assert_eq!(devices("/dev/null:rw").unwrap()[0].path, "/dev/null");
        assert!(matches!(
            devices("/dev/nope"),
            Err(RunError::Refused { code: 127, .. })
        ));
        assert!(devices("/etc/passwd").is_err() && devices("nvidia.com/gpu=all").is_err());
        assert_eq!(device_rule("a *:* rwm").unwrap().len(), 2);
        assert!(device_rule("c 1 rwm").is_none() && device_rule("c 1:2 x").is_none());
    }
}
