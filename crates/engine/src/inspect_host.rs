//! What of a container concerns the host, as `docker inspect` shows it.

use coil_runtime::spec::Limits;
use serde_json::{Value, json};

use crate::inspect::or_null;
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
    let driver = or(&options.log_driver, "json-file");
    let mut config = json!({
        "Binds": or_null(&record.binds),
        "ContainerIDFile": "",
        "LogConfig": { "Type": driver, "Config": {} },
        "NetworkMode": if record.network == "default" { "bridge" } else { record.network.as_str() },
        "PortBindings": ports,
        "RestartPolicy": { "Name": record.restart.name(), "MaximumRetryCount": record.restart.most() },
        "AutoRemove": record.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "Annotations": options.annotations,
        "CapAdd": or_null(&options.cap_add),
        "CapDrop": or_null(&options.cap_drop),
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
        "Runtime": "coil",
        "Isolation": "",
    });
    let resources = json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory.unwrap_or(0),
        "NanoCpus": limits.cpus_milli.unwrap_or(0) * 1_000_000,
        "CgroupParent": options.cgroup_parent,
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [],
        "BlkioDeviceWriteIOps": [],
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": 0,
        "CpuRealtimeRuntime": 0,
        "CpusetCpus": limits.cpuset_cpus,
        "CpusetMems": limits.cpuset_mems,
        "Devices": devices,
        "DeviceCgroupRules": or_null(&options.device_rules),
        "DeviceRequests": null,
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
    for part in [privileges, resources, rest] {
        if let (Value::Object(all), Value::Object(part)) = (&mut config, part) {
            all.extend(part);
        }
    }
    config
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

/// Twice the memory where none was asked for.
fn memory_swap(limits: &Limits) -> i64 {
    let twice = |memory: u64| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    limits
        .memory_swap
        .unwrap_or_else(|| limits.memory.map_or(0, twice))
}
