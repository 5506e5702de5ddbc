//! What of a container concerns the host, as `docker inspect` shows it.

use coil_runtime::spec::{DeviceLimit, Limits};
use serde_json::{Value, json};

use crate::device_interface;
use crate::inspect::or_null;
use crate::options::Options;
use crate::record::ContainerRecord;

/// What was asked for of the host; what nobody asked for is as Docker shows it.
pub(crate) fn host_config(record: &ContainerRecord, ports: Value) -> Value {
    let (limits, options, names) = (&record.limits, &record.options, &record.names);
    let hosts: Vec<String> = names
        .hosts
        .iter()
        .map(|host| {
            let address = host
                .address
                .map_or("host-gateway".to_owned(), |ip| ip.to_string());
            format!("{}:{address}", host.name)
        })
        .collect();
    let links: Vec<String> = names
        .links
        .iter()
        .map(|(container, alias)| format!("/{container}:/{}/{alias}", record.name))
        .collect();
    let ulimits: Vec<Value> = options
        .ulimits
        .iter()
        .map(|limit| {
            let number = |value: u64| i64::try_from(value).unwrap_or(-1);
            json!({ "Name": limit.name, "Hard": number(limit.hard), "Soft": number(limit.soft) })
        })
        .collect();
    let devices: Vec<Value> = options
        .devices
        .iter()
        .filter(|device| !device_interface::is_name(device))
        .map(|device| {
            let mut parts = device.split(':');
            let host = parts.next().unwrap_or_default();
            json!({
                "PathOnHost": host,
                "PathInContainer": parts.next().unwrap_or(host),
                "CgroupPermissions": parts.next().unwrap_or("rwm"),
            })
        })
        .collect();
    let or = |text: &str, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    let mut config = json!({
        "Binds": or_null(&record.binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": options.log.driver(), "Config": options.log.options },
        "NetworkMode": if record.network == "default" { "bridge" } else { record.network.as_str() },
        "PortBindings": ports,
        "RestartPolicy": { "Name": record.restart.name(), "MaximumRetryCount": record.restart.most() },
        "AutoRemove": record.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "CapAdd": or_null(&capabilities(&options.cap_add)),
        "CapDrop": or_null(&capabilities(&options.cap_drop)),
        "CgroupnsMode": or(&options.cgroupns, "private"),
        "Dns": names.dns,
        "DnsOptions": names.options,
        "DnsSearch": names.search,
        "ExtraHosts": or_null(&hosts),
    });
    let privileges = json!({
        "GroupAdd": or_null(&options.group_add),
        "IpcMode": or(&options.ipc, "private"),
        "Cgroup": "",
        "Links": or_null(&links),
        "OomScoreAdj": options.oom_score_adj.unwrap_or(0),
        "PidMode": options.pid,
        "Privileged": options.privileged,
        "PublishAllPorts": false,
        "ReadonlyRootfs": record.read_only,
        "SecurityOpt": or_null(&options.security),
        "Sysctls": options.sysctls,
        "UTSMode": options.uts,
        "UsernsMode": options.userns,
        "ShmSize": limits.shm_size,
        "Runtime": or(&options.runtime, "coil"),
        "Isolation": options.isolation,
    });
    let resources = json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.cpus_milli.unwrap_or(0) * 1_000_000,
        "CgroupParent": options.cgroup_parent,
        "BlkioWeight": limits.disk.weight,
        "BlkioWeightDevice": disks(&limits.disk.weights, "Weight"),
        "BlkioDeviceReadBps": disks(&limits.disk.read_bytes, "Rate"),
        "BlkioDeviceWriteBps": disks(&limits.disk.write_bytes, "Rate"),
        "BlkioDeviceReadIOps": disks(&limits.disk.read_operations, "Rate"),
        "BlkioDeviceWriteIOps": disks(&limits.disk.write_operations, "Rate"),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": devices,
        "DeviceCgroupRules": or_null(&options.device_rules),
        "DeviceRequests": or_null(&device_requests(options)),
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": memory_swap(limits),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids.filter(|pids| *pids > 0),
    });
    let rest = json!({
        "Init": if options.init { json!(true) } else { Value::Null },
        "Ulimits": ulimits,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": or_null(&paths(record, coil_runtime::hidden_paths::MASKED)),
        "ReadonlyPaths": or_null(&paths(record, coil_runtime::hidden_paths::READ_ONLY)),
    });
    if !options.annotations.is_empty() {
        config["Annotations"] = json!(options.annotations);
    }
    let (memory, mounts) = crate::volumes::host_config(&record.points);
    if let Some(memory) = memory {
        config["Tmpfs"] = memory;
    }
    if let Some(mounts) = mounts {
        config["Mounts"] = mounts;
    }
    for part in [privileges, resources, rest] {
        if let (Value::Object(all), Value::Object(part)) = (&mut config, part) {
            all.extend(part);
        }
    }
    config
}

/// The names of capabilities as the kernel has them.
fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| {
        let name = name.to_ascii_uppercase();
        match name.as_str() {
            "ALL" => name,
            _ if name.starts_with("CAP_") => name,
            _ => format!("CAP_{name}"),
        }
    };
    let mut names: Vec<String> = names.iter().map(full).collect();
    names.sort();
    names
}

/// Paths with their reasons, without these; none where nothing is hidden.
fn paths(record: &ContainerRecord, hidden: &[(&'static str, &str)]) -> Vec<&'static str> {
    let open = record.options.privileged
        || record
            .options
            .security
            .iter()
            .any(|word| word == "systempaths=unconfined");
    if open {
        return Vec::new();
    }
    hidden.iter().map(|(path, _)| *path).collect()
}

fn disks(limits: &[DeviceLimit], word: &str) -> Vec<Value> {
    let limit = |limit: &DeviceLimit| json!({ "Path": limit.device, word: limit.value });
    limits.iter().map(limit).collect()
}

/// Devices by the names that vendors give them.
fn device_requests(options: &Options) -> Vec<Value> {
    let mut requests = Vec::new();
    if let Some(gpus) = &options.gpus {
        let mut capabilities = vec!["gpu".to_owned()];
        capabilities.extend(gpus.capabilities.iter().cloned());
        requests.push(json!({
            "Driver": gpus.driver,
            "Count": gpus.count,
            "DeviceIDs": or_null(&gpus.devices),
            "Capabilities": [capabilities],
            "Options": {},
        }));
    }
    let named = options
        .devices
        .iter()
        .filter(|device| device_interface::is_name(device));
    let named: Vec<&String> = named.collect();
    if !named.is_empty() {
        requests.push(json!({
            "Driver": "cdi", "Count": 0, "DeviceIDs": named, "Capabilities": null, "Options": null,
        }));
    }
    requests
}

/// Twice the memory where none was asked for.
fn memory_swap(limits: &Limits) -> i64 {
    let twice = |memory: u64| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    limits
        .memory_swap
        .unwrap_or_else(|| limits.memory.map_or(0, twice))
}
