//! The steps of a build as its provenance tells them: like BuildKit's LLB in JSON, with the lines of the Dockerfile.

use coil_dockerfile::{MountKind, Span};
use coil_fetch::{base64, redact_url};
use coil_oci::{Arch, Descriptor, Digest};
use coil_plan::Vertex;
use serde_json::{Map, Value, json};

use super::copying::{CopyOp, CopySource, From};
use super::lowering::{Op, PlannedStep};
use super::running::RunOp;
use super::solving::Layers;

/// A step.
#[derive(Debug, Clone)]
pub(crate) struct ToldStep {
    id: String,
    op: Value,
    inputs: Vec<String>,
    span: Option<Span>,
    layers: Vec<Descriptor>,
}

/// All steps, in their order; the folders of this machine that they read come first.
pub(super) fn told(vertices: &[Vertex<PlannedStep>], results: &[Layers]) -> Vec<ToldStep> {
    let mut steps: Vec<ToldStep> = Vec::new();
    let mut contexts: Vec<String> = Vec::new();
    for vertex in vertices {
        for name in contexts_of(&vertex.op.op) {
            if !contexts.contains(&name) {
                contexts.push(name);
            }
        }
    }
    for name in &contexts {
        steps.push(ToldStep {
            id: format!("step{}", steps.len()),
            op: json!({ "Op": { "source": { "identifier": format!("local://{name}") } }, "constraints": {} }),
            inputs: Vec::new(),
            span: None,
            layers: Vec::new(),
        });
    }
    let before = steps.len();
    for (at, vertex) in vertices.iter().enumerate() {
        let mut inputs: Vec<String> = vertex
            .inputs
            .iter()
            .map(|input| format!("step{}:0", before + input.index()))
            .collect();
        for name in contexts_of(&vertex.op.op) {
            let context = contexts.iter().position(|known| *known == name);
            inputs.extend(context.map(|context| format!("step{context}:0")));
        }
        let layers = results.get(at).into_iter().flat_map(|layers| layers.iter());
        steps.push(ToldStep {
            id: format!("step{}", before + at),
            op: operation(&vertex.op.op, &vertex.name),
            inputs,
            span: Some(vertex.op.span),
            layers: layers.map(|layer| layer.blob.clone()).collect(),
        });
    }
    steps
}

/// The folders that a step reads.
fn contexts_of(op: &Op) -> Vec<String> {
    let name = |from: &From| match from {
        From::Context(name) => Some(name.clone().unwrap_or_else(|| "context".into())),
        From::Input => None,
    };
    match op {
        Op::Copy(op)
            if op
                .sources
                .iter()
                .any(|source| matches!(source, CopySource::Path(_))) =>
        {
            name(&op.from).into_iter().collect()
        }
        Op::Run(op) => op
            .mounts
            .iter()
            .filter(|mount| mount.mount.kind == MountKind::Bind)
            .filter_map(|mount| name(&mount.from))
            .collect(),
        _ => Vec::new(),
    }
}

fn platform(arch: Arch) -> Value {
    json!({ "Architecture": arch.name(), "OS": "linux" })
}

fn operation(op: &Op, name: &str) -> Value {
    match op {
        Op::Scratch => json!({ "Op": {}, "constraints": {} }),
        Op::Image(_) => {
            let image = name.rsplit_once("FROM ").map_or(name, |(_, image)| image);
            json!({ "Op": { "source": { "identifier": format!("docker-image://{image}") } }, "constraints": {} })
        }
        Op::Folder { path, .. } => json!({
            "Op": { "file": { "actions": [{
                "input": 0, "secondaryInput": -1, "output": 0,
                "Action": { "mkdir": { "path": path, "mode": 0o755, "makeParents": true } },
            }] } },
            "constraints": {},
        }),
        Op::Copy(op) => copy(op),
        Op::Run(op) => exec(op),
    }
}

fn copy(op: &CopyOp) -> Value {
    let actions: Vec<Value> = op
        .sources
        .iter()
        .map(|source| {
            let mut copy = json!({ "dest": op.destination });
            match source {
                CopySource::Path(path) => copy["src"] = path.clone().into(),
                CopySource::Address(url) | CopySource::Git(url) => copy["src"] = redact_url(url).into(),
                CopySource::Inline { name, .. } => copy["src"] = format!("<<{name}").into(),
            }
            if let Some(owner) = &op.chown {
                copy["owner"] = owner.clone().into();
            }
            if !op.exclude.is_empty() {
                copy["excludePatterns"] = op.exclude.clone().into();
            }
            json!({ "input": 0, "secondaryInput": 1, "output": 0, "Action": { "copy": copy } })
        })
        .collect();
    json!({ "Op": { "file": { "actions": actions } }, "constraints": {} })
}

fn exec(op: &RunOp) -> Value {
    let env: Vec<String> = op
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut mounts = vec![json!({ "input": 0, "dest": "/", "output": 0 })];
    for mount in &op.mounts {
        let about = &mount.mount;
        let mut told = json!({ "dest": mount.target, "input": mount.input.map_or(-1, |at| i64::try_from(at).unwrap_or(-1)) });
        let (kind, options) = match about.kind {
            MountKind::Bind => (
                "BIND",
                json!({ "selector": about.source, "readonly": about.read_only }),
            ),
            MountKind::Cache => (
                "CACHE",
                json!({ "cacheOpt": { "ID": about.id.clone().or(mount.target.clone()), "sharing": format!("{:?}", about.sharing).to_uppercase() } }),
            ),
            MountKind::Tmpfs => ("TMPFS", json!({ "TmpfsOpt": { "size": about.size } })),
            // Of a secret only its name is known here.
            MountKind::Secret => (
                "SECRET",
                json!({ "secretOpt": { "ID": about.id, "optional": !about.required } }),
            ),
            MountKind::Ssh => (
                "SSH",
                json!({ "SSHOpt": { "ID": about.id.as_deref().unwrap_or("default"), "optional": !about.required } }),
            ),
        };
        told["mountType"] = kind.into();
        if let (Value::Object(told), Value::Object(options)) = (&mut told, options) {
            told.extend(options);
        }
        mounts.push(told);
    }
    let mut meta = json!({ "args": op.argv, "env": env, "cwd": op.workdir });
    if !op.user.is_empty() {
        meta["user"] = op.user.clone().into();
    }
    let mut exec =
        json!({ "meta": meta, "mounts": mounts, "network": format!("{:?}", op.network).to_uppercase() });
    if op.insecure {
        exec["security"] = "INSECURE".into();
    }
    if !op.devices.is_empty() {
        exec["devices"] = op
            .devices
            .iter()
            .map(|device| json!({ "name": device.name }))
            .collect();
    }
    json!({ "Op": { "exec": exec }, "platform": platform(op.arch), "constraints": {} })
}

/// `buildConfig`: the steps, and which of them each digest is.
pub(super) fn definition(steps: &[ToldStep]) -> Value {
    let mut mapping = Map::new();
    let steps: Vec<Value> = steps
        .iter()
        .map(|step| {
            let mut told = json!({ "id": step.id, "op": step.op });
            if !step.inputs.is_empty() {
                told["inputs"] = step.inputs.clone().into();
            }
            mapping.insert(
                Digest::of(told.to_string().as_bytes()).to_string(),
                step.id.clone().into(),
            );
            told
        })
        .collect();
    json!({ "llbDefinition": steps, "digestMapping": mapping })
}

/// `source`: the Dockerfile, and the lines of each step.
pub(super) fn source(steps: &[ToldStep], name: &str, text: &str) -> Value {
    let mut locations = Map::new();
    for step in steps {
        let place = match step.span {
            Some(span) => json!({ "locations": [{ "ranges": [{
                "start": { "line": span.line }, "end": { "line": span.end_line },
            }] }] }),
            None => json!({}),
        };
        locations.insert(step.id.clone(), place);
    }
    json!({
        "locations": locations,
        "infos": [{ "filename": name, "language": "Dockerfile", "data": base64(text.as_bytes()) }],
    })
}

/// `layers`: the blobs that each step's result is made of.
pub(super) fn layers(steps: &[ToldStep]) -> Value {
    let all = steps.iter().filter(|step| !step.layers.is_empty());
    let all: Map<String, Value> = all
        .map(|step| (format!("{}:0", step.id), json!([step.layers])))
        .collect();
    Value::Object(all)
}
