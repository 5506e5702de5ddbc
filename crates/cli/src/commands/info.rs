//! `coil info`: what coil works with on this machine.

use std::fs;

use clap::Args;
use coil_engine::usage::total_memory;
use coil_engine::{Status, UserIds};
use serde_json::{Value, json};

use crate::output;
use crate::quantity::binary_size;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;

/// Arguments of `coil info`.
#[derive(Debug, Args)]
pub struct Info {
    /// json, or a template such as '{{.Driver}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    /// Prints it.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::of_objects(self.format.as_deref(), "")?;
        let facts = facts(settings)?;
        match &format {
            Format::Table => output::print(&in_words(&facts)),
            Format::Json => output::line(&facts.to_string()),
            Format::Template(shape) => output::line(&shape.one("system.dockerInfo", &facts)?),
        }
        Ok(0)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The fields of Docker's that mean something without a daemon.
fn facts(settings: &Settings) -> Result<Value, Failure> {
    let engine = settings.engine()?;
    let containers = engine.containers();
    let count = |statuses: &[Status]| {
        containers
            .iter()
            .filter(|container| statuses.contains(&container.state.status))
            .count()
    };
    let release = read("/etc/os-release");
    let system = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or("Linux", |name| name.trim_matches('"'));
    let unified = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
    let mut security = vec!["name=seccomp,profile=builtin".to_owned()];
    if !engine.is_root() {
        security.push("name=rootless".to_owned());
    }
    let mut facts = json!({
        "ID": read("/etc/machine-id"),
        "Containers": containers.len(),
        "ContainersRunning": count(&[Status::Running, Status::Restarting]),
        "ContainersPaused": count(&[Status::Paused]),
        "ContainersStopped": count(&[Status::Created, Status::Exited]),
        "Images": engine.list_images()?.len(),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file", "local", "none"],
        },
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
        "IPv4Forwarding": read("/proc/sys/net/ipv4/ip_forward") == "1",
        "Debug": false,
        "OomKillDisable": !unified,
    });
    let system = json!({
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if unified { "2" } else { "1" },
        "KernelVersion": read("/proc/sys/kernel/osrelease"),
        "OperatingSystem": system,
        "OSVersion": release.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default().trim_matches('"'),
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": total_memory(),
        "DockerRootDir": settings.root(),
        "UserIds": user_ids(settings),
        "HttpProxy": settings.environment().first(&["HTTP_PROXY", "http_proxy"]).unwrap_or_default(),
        "HttpsProxy": settings.environment().first(&["HTTPS_PROXY", "https_proxy"]).unwrap_or_default(),
        "NoProxy": settings.environment().first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        "Name": read("/proc/sys/kernel/hostname"),
    });
    let rest = json!({
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "coil": { "path": settings.program() } },
        "DefaultRuntime": "coil",
        "Swarm": { "NodeID": "", "LocalNodeState": "inactive", "ControlAvailable": false },
        "LiveRestoreEnabled": true,
        "InitBinary": "coil",
        "SecurityOptions": security,
        "Warnings": null,
        "ClientInfo": { "Version": env!("CARGO_PKG_VERSION"), "Context": "default", "Debug": false },
    });
    for part in [system, rest] {
        if let (Value::Object(all), Value::Object(part)) = (&mut facts, part) {
            all.extend(part);
        }
    }
    Ok(facts)
}

/// Which ids an ordinary user's containers have, and why not more.
fn user_ids(settings: &Settings) -> Value {
    match (settings.user_ids(), settings.lack_of_ids()) {
        (UserIds::Host, _) => Value::Null,
        (ids, None) => ids.to_string().into(),
        (ids, Some(lack)) => format!("{ids} ({lack}; {})", lack.help()).into(),
    }
}

fn in_words(facts: &Value) -> String {
    let text = |name: &str| match &facts[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let list = |value: &Value| {
        let items = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(" ")
    };
    let memory = binary_size(facts["MemTotal"].as_u64().unwrap_or_default());
    let mut lines = vec![
        format!(
            "Client:\n Version:    {}\n Context:    default\n",
            text("ServerVersion")
        ),
        "Server: none; coil works without a daemon".to_owned(),
    ];
    for (title, value) in [
        ("Containers", text("Containers")),
        (" Running", text("ContainersRunning")),
        (" Paused", text("ContainersPaused")),
        (" Stopped", text("ContainersStopped")),
        ("Images", text("Images")),
        ("Server Version", text("ServerVersion")),
        ("Storage Driver", text("Driver")),
        ("Logging Driver", text("LoggingDriver")),
        ("Cgroup Driver", text("CgroupDriver")),
        ("Cgroup Version", text("CgroupVersion")),
        ("Network", list(&facts["Plugins"]["Network"])),
        ("Security Options", list(&facts["SecurityOptions"])),
        ("Kernel Version", text("KernelVersion")),
        ("Operating System", text("OperatingSystem")),
        ("OSType", text("OSType")),
        ("Architecture", text("Architecture")),
        ("CPUs", text("NCPU")),
        ("Total Memory", memory),
        ("Name", text("Name")),
        ("Docker Root Dir", text("DockerRootDir")),
    ] {
        lines.push(format!(" {title}: {value}"));
    }
    // Docker has no such line: root's ids are the machine's.
    if let Some(ids) = facts["UserIds"].as_str() {
        lines.push(format!(" User IDs: {ids}"));
    }
    lines.join("\n") + "\n"
}
