//! A container's first process: from a clone of the monitor to the user's program.

pub(crate) mod file_systems;
mod hooks;
mod joined_namespaces;
pub(crate) mod mounts;
pub(crate) mod root;

use crate::cgroup::{CgroupPlan, Entrance};
use crate::failure::{Failure, Stage};
use crate::program::{Confinement, Standard};
use crate::spec::{ContainerSpec, Namespace};
use coil_sys::mount::{self, attribute, propagation};
use coil_sys::privilege::Instruction;
use coil_sys::{file, process};
pub(crate) use joined_namespaces::Shared;
use root::Root;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What the monitor prepared for its clone.
pub(crate) struct Prepared<'a> {
    pub spec: &'a ContainerSpec,
    /// The control groups to enter, where the clone isn't in them.
    pub entrance: Option<Entrance>,
    /// The network namespace of another container to join.
    pub network: Option<OwnedFd>,
    /// Other namespaces that it shares with somebody.
    pub shared: Shared,
    pub filter: Option<Vec<Instruction>>,
    /// The container's devpts, not placed yet.
    pub terminals: OwnedFd,
    pub standard: Standard,
    /// A byte comes when the network stands; the end means that the monitor is gone.
    pub go: OwnedFd,
    /// A [`Failure`] as JSON goes here; exec closes it.
    pub report: OwnedFd,
}

/// The namespaces of a container's first process, besides the control groups' which it makes once it is in its own.
pub(crate) fn namespaces(spec: &ContainerSpec) -> i32 {
    let network = if spec.network.makes_namespace() {
        libc::CLONE_NEWNET
    } else {
        0
    };
    let own = |namespace: Namespace, flag: i32| if namespace == Namespace::Own { flag } else { 0 };
    let user = spec.inner_map().map_or(0, |_| libc::CLONE_NEWUSER);
    libc::CLONE_NEWNS
        | user
        | own(spec.pid, libc::CLONE_NEWPID)
        | own(spec.ipc, libc::CLONE_NEWIPC)
        | own(spec.uts, libc::CLONE_NEWUTS)
        | network
}

/// Becomes the container's program; comes back never.
pub(crate) fn run(prepared: Prepared<'_>) -> ! {
    let Ok(report) = prepared.report.try_clone() else {
        process::exit_now(125)
    };
    let failure = match become_program(prepared) {
        Err(failure) => failure,
        Ok(never) => match never {},
    };
    let bytes = serde_json::to_vec(&failure).unwrap_or_default();
    // The monitor sees the end of the pipe even if this fails.
    let _ = std::fs::File::from(report).write_all(&bytes);
    process::exit_now(failure.exit_code)
}

fn become_program(prepared: Prepared<'_>) -> Result<std::convert::Infallible, Failure> {
    let Prepared {
        spec,
        entrance,
        network,
        shared,
        filter,
        terminals,
        standard,
        go,
        report: _report,
    } = prepared;
    if let Some(map) = spec.inner_map() {
        crate::user_namespace::write_one(&map)?;
    }
    if let Some(entrance) = entrance {
        entrance
            .enter()
            .stage("control groups", "cannot enter the control group")?;
    }
    let memory = shared.enter(spec)?;
    if let Some(network) = network {
        process::setns(network, libc::CLONE_NEWNET)
            .stage("network", "cannot join the container's network")?;
    }
    // Nobody inside may look into this process while it still holds the host's rights.
    process::set_dumpable(false).stage("init", "dumpable")?;
    process::set_umask(0);
    process::new_session().stage("init", "session")?;
    // A kernel may lack keyrings, or the user's share of keys be used up: the filter refuses keyctl anyway.
    let _ = process::join_session_keyring();

    mount::set_propagation_below(Path::new("/"), propagation::SLAVE).stage("mounts", "/")?;
    let root = file_systems::root(spec)?;
    let proc = file_systems::proc(&root)?;
    let devices = file_systems::devices(&root, spec, terminals, standard.terminal(), memory)?;
    file_systems::sys(&root, spec.writable_system)?;
    if !matches!(spec.cgroup, CgroupPlan::None { .. }) && spec.cgroup_namespace == Namespace::Own {
        process::unshare(libc::CLONE_NEWCGROUP)
            .stage("control groups", "cannot make a control group namespace")?;
    }
    file_systems::control_groups(&root, &spec.cgroup, spec.writable_system)?;
    mounts::name_files(&root, spec)?;
    mounts::user_mounts(&root, &spec.mounts)?;
    hooks::run(spec)?;

    if spec.network.makes_namespace() {
        crate::network::raise_loopback().map_err(|error| Failure::new("network", &error, &error.source))?;
    }
    if spec.uts == Namespace::Own {
        process::set_hostname(&spec.hostname).stage("init", "cannot set the host name")?;
        if !spec.domainname.is_empty() {
            process::set_domainname(&spec.domainname).stage("init", "cannot set the domain name")?;
        }
    }
    if let Some(score) = spec.oom_score_adj {
        // Below what it was only the host's root may go.
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .stage("init", format_args!("cannot set the OOM score {score}"))?;
    }
    kernel_settings(&proc, spec)?;
    mounts::protect(&root, &spec.readonly_paths)?;
    mounts::hide(&root, spec, &devices)?;

    // Magic links are refused, so the directory can't be one of the host's (CVE-2024-21626).
    process::set_umask(0o022);
    let directory = working_directory(&root, &spec.cwd)?;
    if spec.read_only {
        mount::set_attributes(&root, attribute::READ_ONLY, false)
            .stage("mounts", "cannot make the root read-only")?;
    }
    file::change_directory(&root).stage("mounts", "root")?;
    mount::pivot_to_current_directory().stage("mounts", "cannot change the root")?;
    file::change_directory(&directory).stage("init", format_args!("chdir to cwd (\"{}\")", spec.cwd))?;

    let null =
        file::open_at(&devices.directory, Path::new("null"), libc::O_RDONLY, 0).stage("init", "/dev/null")?;
    standard.install(&null, &spec.user)?;

    await_monitor(&go)?;
    Confinement {
        user: &spec.user,
        may_set_groups: spec.id_map.may_set_groups(),
        capabilities: spec.capability_set(),
        filter: filter.as_deref(),
        no_new_privileges: spec.no_new_privileges,
        rlimits: &spec.rlimits,
        guard: Some(&go),
        ends_with_parent: true,
        init: spec.init,
    }
    .run(&spec.args, &spec.env)
}

/// Waits for the monitor's word; without a monitor there is no container.
fn await_monitor(go: &OwnedFd) -> Result<(), Failure> {
    match file::read(go, &mut [0]).stage("init", "the monitor")? {
        0 => process::exit_now(125),
        _ => Ok(()),
    }
}

/// The working directory, made where it is missing.
pub(crate) fn working_directory(root: &Root, cwd: &str) -> Result<OwnedFd, Failure> {
    root.directory(Path::new(cwd)).map_err(|error| {
        let failure = Failure::new("init", format_args!("chdir to cwd (\"{cwd}\")"), &error);
        match error.raw_os_error() {
            Some(libc::ENOTDIR | libc::EACCES) => failure.with_exit_code(126),
            _ => failure,
        }
    })
}

/// Kernel settings of the new namespaces, written below the proc that we mounted (CVE-2025-52881).
fn kernel_settings(proc: &OwnedFd, spec: &ContainerSpec) -> Result<(), Failure> {
    let write = |key: &str, value: &str| {
        let path = Path::new("sys").join(key.replace('.', "/"));
        let resolve = file::resolve::NO_SYMLINKS | file::resolve::IN_ROOT | file::resolve::NO_CROSSING;
        let fd = file::open_below(proc, &path, libc::O_WRONLY, 0, resolve)?;
        file::write(fd, value.as_bytes()).map(|_| ())
    };
    if spec.network.makes_namespace() {
        // `ping` without CAP_NET_RAW, and low ports without CAP_NET_BIND_SERVICE, as Docker does. In a user namespace
        // the range may only name groups that exist there.
        let range = match spec.id_map.gids.as_slice() {
            [] => "0 2147483647".to_owned(),
            [one] => format!("{} {}", one.inside, one.inside + one.count - 1),
            _ => format!("0 {}", spec.id_map.highest().min(i32::MAX as u32)),
        };
        // A kernel without IPv4 has neither; a container needs neither to start.
        let _ = write("net.ipv4.ping_group_range", &range);
        let _ = write("net.ipv4.ip_unprivileged_port_start", "0");
    }
    for (key, value) in &spec.sysctls {
        if key.contains("..") || key.contains('/') || !is_namespaced(key, spec) {
            let message = format!("sysctl {key}: it is not the container's own but the whole host's");
            return Err(Failure::refused("kernel settings", message));
        }
        write(key, value).map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => 127,
                _ => 125,
            };
            Failure::new("kernel settings", format_args!("sysctl {key}={value}"), &error).with_exit_code(code)
        })?;
    }
    Ok(())
}

/// Whether a setting belongs to a namespace that the container has for itself.
fn is_namespaced(key: &str, spec: &ContainerSpec) -> bool {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    (IPC.contains(&key) || key.starts_with("fs.mqueue.")) && spec.ipc == Namespace::Own
        || key == "kernel.domainname"
        || key.starts_with("net.") && spec.network.makes_namespace()
}
