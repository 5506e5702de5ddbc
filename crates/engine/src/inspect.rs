//! A container as `docker inspect` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use coil_oci::timestamp;
use coil_runtime::ports::PortMapping;
use coil_runtime::state::{HEALTH_LOG, Status};
use serde_json::{Value, json};

use crate::Engine;
use crate::inspect_host::host_config;
use crate::record::{Container, ContainerRecord};

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

/// Its health with the last results, null where it isn't looked after.
fn health(container: &Container) -> Value {
    let Some(health) = &container.state.health else {
        return Value::Null;
    };
    let path = container.dir.join(HEALTH_LOG);
    let log: Value = std::fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_else(|| json!([]));
    json!({ "Status": health.status.name(), "FailingStreak": health.failing_streak, "Log": log })
}

pub(crate) fn or_null<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

/// The folders that the image, or a flag without a source, wants to be volumes.
fn volumes_of_image(record: &ContainerRecord) -> Value {
    let own = record.points.iter().filter(|point| point.anonymous);
    let folders: serde_json::Map<String, Value> =
        own.map(|point| (point.destination.clone(), json!({}))).collect();
    match folders.is_empty() {
        true => Value::Null,
        false => folders.into(),
    }
}

/// The signal's name, where somebody chose one.
fn stop_signal(record: &ContainerRecord) -> String {
    match record.options.stop_signal.as_str() {
        "" => "SIGTERM".to_owned(),
        name => name.to_owned(),
    }
}

impl Engine {
    /// A container as `docker inspect` shows it.
    pub fn inspect_container(&self, container: &Container) -> Value {
        let record = &container.record;
        let state = &container.state;
        let running = state.status.is_live();
        let created = timestamp::nanoseconds(Duration::new(record.created.0, record.created.1));
        let bindings = |table: BTreeMap<String, Vec<(String, u16)>>| -> Value {
            let side = |(ip, port): (String, u16)| {
                // None was asked for: any free one.
                let port = if port == 0 {
                    String::new()
                } else {
                    port.to_string()
                };
                json!({ "HostIp": ip, "HostPort": port })
            };
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
        let networks = self.network_places(container);
        // What stands beside the networks is that of the bridge network, as Docker has it from its first days.
        let default = networks["bridge"].clone();
        let of_default = |name: &str, other: &str| default[name].as_str().unwrap_or(other).to_owned();
        let mut ports = json!({});
        if running {
            for port in &record.exposed {
                ports[port] = Value::Null;
            }
            if let (Value::Object(all), Value::Object(bound)) =
                (&mut ports, bindings(port_table(&state.ports)))
            {
                all.extend(bound);
            }
        }
        let lower: Vec<String> = record
            .diff_ids
            .iter()
            .rev()
            .map(|layer| self.store.snapshot_tree(layer).display().to_string())
            .collect();
        let mut object = json!({
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
            "LogPath": match record.options.log.driver() {
                "none" => json!(""),
                _ => json!(container.dir.join("log.jsonl")),
            },
            "Name": format!("/{}", record.name),
            "RestartCount": state.restarts,
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": host_config(record, bindings(asked)),
            "GraphDriver": {
                "Data": {
                    "ID": record.id,
                    "LowerDir": lower.join(":"),
                    "MergedDir": container.dir.join("rootfs"),
                    "UpperDir": container.dir.join("upper"),
                    "WorkDir": container.dir.join("work"),
                },
                "Name": "overlay2",
            },
            "Mounts": crate::volumes::inspect(&record.points),
            "Config": {
                "Hostname": record.hostname,
                "Domainname": record.options.domainname,
                "User": record.user,
                "AttachStdin": record.attached[0],
                "AttachStdout": record.attached[1],
                "AttachStderr": record.attached[2],
                "ExposedPorts": exposed,
                "Tty": record.terminal,
                "OpenStdin": record.stdin_open,
                "StdinOnce": record.attached[0] && record.stdin_open,
                "Env": record.env,
                "Cmd": or_null(&record.command),
                "Healthcheck": record.health,
                "Image": record.image,
                "Volumes": volumes_of_image(record),
                "WorkingDir": record.cwd,
                "Entrypoint": or_null(&record.entrypoint),
                "OnBuild": null,
                "Labels": record.labels,
                "StopSignal": stop_signal(record),
                "StopTimeout": record.stop_timeout,
            },
            "NetworkSettings": {
                "Bridge": "",
                "SandboxID": if running { record.id.as_str() } else { "" },
                "SandboxKey": if running { format!("/proc/{}/ns/net", state.pid) } else { String::new() },
                "Ports": ports,
                "HairpinMode": false,
                "LinkLocalIPv6Address": "",
                "LinkLocalIPv6PrefixLen": 0,
                "SecondaryIPAddresses": null,
                "SecondaryIPv6Addresses": null,
                "EndpointID": of_default("EndpointID", ""),
                "Gateway": of_default("Gateway", ""),
                "GlobalIPv6Address": of_default("GlobalIPv6Address", ""),
                "GlobalIPv6PrefixLen": default["GlobalIPv6PrefixLen"].as_u64().unwrap_or(0),
                "IPAddress": of_default("IPAddress", ""),
                "IPPrefixLen": default["IPPrefixLen"].as_u64().unwrap_or(0),
                "IPv6Gateway": of_default("IPv6Gateway", ""),
                "MacAddress": of_default("MacAddress", ""),
                "Networks": networks,
            },
        });
        // Docker leaves away what a container hasn't.
        if let health @ Value::Object(_) = health(container) {
            object["State"]["Health"] = health;
        }
        if record.health.is_none()
            && let Value::Object(config) = &mut object["Config"]
        {
            config.remove("Healthcheck");
        }
        object
    }
}
