//! A container as `docker inspect` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use coil_oci::timestamp;
use coil_runtime::ports::PortMapping;
use coil_runtime::state::Status;
use serde_json::{Value, json};

use crate::Engine;
use crate::record::Container;

/// Docker's time for what never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn or_never(time: &str) -> &str {
    if time.is_empty() { NEVER } else { time }
}

/// Published ports by container port, with where each is listened on.
pub fn port_table(bound: &[PortMapping]) -> BTreeMap<String, Vec<(String, u16)>> {
    let mut table: BTreeMap<String, Vec<(String, u16)>> = BTreeMap::new();
    for port in bound {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let places = table.entry(key).or_default();
        match port.host_ip {
            Some(ip) => places.push((ip.to_string(), port.host_port)),
            // Both families, as Docker lists them.
            None => places.extend([
                ("0.0.0.0".to_owned(), port.host_port),
                ("::".to_owned(), port.host_port),
            ]),
        }
    }
    table
}

impl Engine {
    /// A container as `docker inspect` shows it.
    pub fn inspect_container(&self, container: &Container) -> Value {
        let record = &container.record;
        let state = &container.state;
        let running = state.status.is_live();
        let created = timestamp::nanoseconds(Duration::new(record.created.0, record.created.1));
        let bindings = |table: BTreeMap<String, Vec<(String, u16)>>| -> Value {
            let side = |(ip, port): (String, u16)| json!({ "HostIp": ip, "HostPort": port.to_string() });
            table
                .into_iter()
                .map(|(key, places)| (key, places.into_iter().map(side).collect::<Value>()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let mut asked: BTreeMap<String, Vec<(String, u16)>> = BTreeMap::new();
        for port in &record.ports {
            let ip = port.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
            let key = format!("{}/{}", port.container_port, port.protocol);
            asked.entry(key).or_default().push((ip, port.host_port));
        }
        let exposed: serde_json::Map<String, Value> = record
            .exposed
            .iter()
            .map(|port| (port.clone(), json!({})))
            .collect();
        let address = state.networks.first().map(|network| network.address.to_string());
        json!({
            "Id": record.id,
            "Created": created,
            "Path": record.args.first(),
            "Args": record.args.get(1..).unwrap_or_default(),
            "State": {
                "Status": state.status,
                "Running": running,
                "Paused": state.status == Status::Paused,
                "Restarting": state.status == Status::Restarting,
                "OOMKilled": state.oom_killed,
                "Dead": false,
                "Pid": if running { state.pid } else { 0 },
                "ExitCode": state.exit_code,
                "Error": state.error,
                "StartedAt": or_never(&state.started_at),
                "FinishedAt": or_never(&state.finished_at),
            },
            "Image": record.image_id,
            "ResolvConfPath": container.dir.join("resolv.conf"),
            "HostnamePath": container.dir.join("hostname"),
            "HostsPath": container.dir.join("hosts"),
            "LogPath": container.dir.join("log.jsonl"),
            "Name": format!("/{}", record.name),
            "RestartCount": state.restarts,
            "Platform": "linux",
            "HostConfig": {
                "Binds": record.binds,
                "NetworkMode": record.network,
                "PortBindings": bindings(asked),
                "AutoRemove": record.auto_remove,
                "Memory": record.limits.memory.unwrap_or(0),
                "NanoCpus": record.limits.cpus_milli.unwrap_or(0) * 1_000_000,
                "RestartPolicy": { "Name": record.restart.name(), "MaximumRetryCount": record.restart.most() },
            },
            "Config": {
                "Hostname": record.hostname,
                "User": record.user,
                "ExposedPorts": exposed,
                "Tty": record.terminal,
                "OpenStdin": record.stdin_open,
                "Env": record.env,
                "Cmd": record.command,
                "Image": record.image,
                "WorkingDir": record.cwd,
                "Entrypoint": if record.entrypoint.is_empty() { Value::Null } else { json!(record.entrypoint) },
                "Labels": record.labels,
                "StopSignal": record.stop_signal.to_string(),
                "StopTimeout": record.stop_timeout,
            },
            "NetworkSettings": {
                "Ports": bindings(port_table(&state.ports)),
                "IPAddress": address.unwrap_or_default(),
            },
        })
    }
}
