//! How an image was made, told as BuildKit tells it: the predicate of SLSA's provenance, versions 0.2 and 1 (slsa.dev).
//!
//! What is secret is no part of it; arguments and labels are told only where the user asks for everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use coil_dockerfile::{Instruction, Mount, MountKind};
use coil_fetch::redact_url;
use coil_oci::{Arch, Digest, Platform, Reference, timestamp};
use serde_json::{Map, Value, json};

use super::lowering::{Lowering, PROXY_ARGS};
use super::provenance_steps::ToldStep;
use super::{BuildRequest, NamedContext};
use crate::executor::StepNetwork;

/// The build's kind: consumers know by it how the rest is meant.
const BUILD_TYPE: &str = "https://mobyproject.org/buildkit@v1";
/// The same in version 1.
const BUILD_TYPE_V1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// The registry of stand-ins in materials: no image of a registry has such a name.
const STAND_INS: &str = "coil.local/stand-in";

/// Something that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Material {
    /// Its address, without a login.
    pub uri: String,
    /// `sha256`, or `sha1` for a commit.
    pub algorithm: &'static str,
    /// The digest in hexadecimal.
    pub digest: String,
}

impl Material {
    /// A commit of a git repository.
    pub fn commit(address: &str, reference: Option<&str>, commit: &str) -> Material {
        let address = redact_url(address);
        Material {
            uri: match reference {
                Some(reference) => format!("{address}#{reference}"),
                None => address,
            },
            algorithm: if commit.len() > 40 { "sha256" } else { "sha1" },
            digest: commit.to_owned(),
        }
    }

    /// What an address gave.
    pub fn download(address: &str, digest: &Digest) -> Material {
        Material {
            uri: redact_url(address),
            algorithm: "sha256",
            digest: digest.hex().to_owned(),
        }
    }

    /// An image for a platform; one that stands in for another has a name that no registry's image can have.
    pub(super) fn image(reference: &Reference, arch: Arch, digest: &Digest, stands_in: bool) -> Material {
        let platform = Platform::linux(arch).to_string().replace('/', "%2F");
        let name = match stands_in {
            true => format!("{STAND_INS}/{}", reference.familiar_name()),
            false => reference.familiar_name(),
        };
        let tag = reference.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
        let pin = reference.digest().map(|pin| format!("digest={pin}&"));
        Material {
            uri: format!(
                "pkg:docker/{name}{tag}?{}platform={platform}",
                pin.unwrap_or_default()
            ),
            algorithm: "sha256",
            digest: digest.hex().to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({ "uri": self.uri, "digest": { self.algorithm: self.digest } })
    }
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceMode {
    /// Neither arguments, labels nor steps.
    #[default]
    Least,
    /// Everything but secrets.
    Most,
}

/// What an attestation is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenanceForm {
    /// How much is told.
    pub mode: ProvenanceMode,
    /// Whether files that are written out have none beside them.
    pub inline_only: bool,
    /// Who builds, as an address.
    pub builder: String,
    /// Whether the user says that the same inputs give the same image.
    pub reproducible: bool,
    /// SLSA's version 1 in place of 0.2.
    pub is_v1: bool,
}

impl ProvenanceForm {
    /// What kind of statement it is.
    pub(super) fn predicate_type(&self) -> &'static str {
        match self.is_v1 {
            true => "https://slsa.dev/provenance/v1",
            false => "https://slsa.dev/provenance/v0.2",
        }
    }
}

/// How one image was made.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    started: Duration,
    finished: Duration,
    materials: Vec<Material>,
    /// Names that stand-ins were used for.
    stand_ins: BTreeSet<String>,
    entry: String,
    text: String,
    source: Option<Material>,
    args: BTreeMap<String, String>,
    secrets: BTreeMap<String, bool>,
    agents: BTreeMap<String, bool>,
    locals: Vec<String>,
    is_networked: bool,
    is_settled: bool,
    pub(super) steps: Vec<ToldStep>,
}

/// What of a build's graph its provenance tells, besides the steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub(crate) materials: BTreeSet<Material>,
    pub(crate) stand_ins: BTreeSet<String>,
}

impl Provenance {
    /// Takes what a build was asked and what it used; downloads and the end come when it is done.
    pub(super) fn begun(request: &BuildRequest, lowering: &Lowering<'_>, now: Duration) -> Provenance {
        let mut provenance = Provenance {
            started: now,
            finished: now,
            stand_ins: lowering.used.stand_ins.clone(),
            entry: request.name.clone(),
            text: request.text.clone(),
            source: request.source.clone(),
            args: arguments(request),
            is_settled: request.times == super::FileTimes::Settled,
            ..Provenance::default()
        };
        provenance.materials = lowering.used.materials.iter().cloned().collect();
        if request.source.is_none() {
            if request.context.is_some() {
                provenance.locals.push("context".into());
            }
            provenance.locals.push("dockerfile".into());
        }
        let folders = request
            .contexts
            .iter()
            .filter(|(_, context)| matches!(context, NamedContext::Folder(_)));
        provenance.locals.extend(folders.map(|(name, _)| name.clone()));
        for stage in lowering.stages.keys().map(|index| &lowering.file.stages[*index]) {
            for located in &stage.instructions {
                let Instruction::Run(run) = &located.instruction else {
                    continue;
                };
                provenance.is_networked |=
                    request.network != StepNetwork::None && run.network != coil_dockerfile::RunNetwork::None;
                for text in &run.mounts {
                    let Ok(mount) = Mount::parse(text, &mut |value| Ok(value.to_owned())) else {
                        continue;
                    };
                    let (ids, id) = match mount.kind {
                        MountKind::Secret => (&mut provenance.secrets, mount.id.unwrap_or_default()),
                        MountKind::Ssh => (&mut provenance.agents, mount.id.unwrap_or("default".into())),
                        _ => continue,
                    };
                    *ids.entry(id).or_insert(true) &= !mount.required;
                }
            }
        }
        provenance
    }

    /// Takes what the steps downloaded, and how long it took.
    pub(super) fn ended(&mut self, downloads: BTreeSet<Material>, took: Duration, epoch: Option<u64>) {
        self.materials.extend(downloads);
        self.materials.sort();
        self.materials.dedup();
        self.finished = self.started + took;
        // The same inputs are to give the same bytes.
        if let (true, Some(epoch)) = (self.is_settled, epoch) {
            self.started = Duration::from_secs(epoch);
            self.finished = self.started;
        }
    }

    /// The predicate.
    pub(super) fn predicate(&self, form: &ProvenanceForm, arch: Arch) -> Value {
        match form.is_v1 {
            true => self.predicate_v1(form, arch),
            false => self.predicate_v0(form, arch),
        }
    }

    /// What `--metadata-file` tells: the arguments too, as that file stays with who gave them.
    pub fn for_metadata(&self, mode: ProvenanceMode, arch: Arch) -> Value {
        let form = ProvenanceForm {
            mode: ProvenanceMode::Most,
            ..ProvenanceForm::default()
        };
        let mut predicate = self.predicate(&form, arch);
        if let (ProvenanceMode::Least, Value::Object(fields)) = (mode, &mut predicate) {
            fields.remove("buildConfig");
            fields.remove("metadata");
        }
        predicate
    }

    fn is_told(&self, name: &str, mode: ProvenanceMode) -> bool {
        mode == ProvenanceMode::Most || !(name.starts_with("build-arg:") || name.starts_with("label:"))
    }

    fn parameters(&self, mode: ProvenanceMode) -> Value {
        let args = self.args.iter().filter(|(name, _)| self.is_told(name, mode));
        let args: BTreeMap<_, _> = args.collect();
        let mut parameters = json!({ "frontend": "dockerfile.v0", "args": args });
        let optional = |ids: &BTreeMap<String, bool>| -> Vec<Value> {
            let ids = ids.iter();
            ids.map(|(id, optional)| match optional {
                true => json!({ "id": id, "optional": true }),
                false => json!({ "id": id }),
            })
            .collect()
        };
        if mode == ProvenanceMode::Most {
            for (name, ids) in [("secrets", &self.secrets), ("ssh", &self.agents)] {
                if !ids.is_empty() {
                    parameters[name] = optional(ids).into();
                }
            }
        }
        if !self.locals.is_empty() {
            let locals: Vec<Value> = self.locals.iter().map(|name| json!({ "name": name })).collect();
            parameters["locals"] = locals.into();
        }
        parameters
    }

    fn are_parameters_whole(&self, mode: ProvenanceMode) -> bool {
        self.args.keys().all(|name| self.is_told(name, mode))
    }

    /// Files of this machine are named, and have no digest.
    fn are_materials_whole(&self) -> bool {
        self.locals.is_empty()
    }

    fn invocation(&self) -> String {
        let all = format!(
            "{:?} {:?} {:?} {}",
            self.started, self.materials, self.args, self.text
        );
        Digest::of(all.as_bytes()).hex()[..25].to_owned()
    }

    fn about_steps(&self, mode: ProvenanceMode) -> Value {
        let mut about = Map::new();
        if mode == ProvenanceMode::Most {
            about.insert(
                "source".into(),
                super::provenance_steps::source(&self.steps, &self.entry, &self.text),
            );
            about.insert("layers".into(), super::provenance_steps::layers(&self.steps));
        }
        if !self.stand_ins.is_empty() {
            let names: Vec<Value> = self
                .stand_ins
                .iter()
                .map(|name| json!({ "for": name, "note": "made by `coil base` from Debian's packages, not the registry's image" }))
                .collect();
            about.insert("coil:stand-ins".into(), names.into());
        }
        about.insert("coil:version".into(), env!("CARGO_PKG_VERSION").into());
        Value::Object(about)
    }

    fn predicate_v0(&self, form: &ProvenanceForm, arch: Arch) -> Value {
        let mut source = json!({ "entryPoint": self.entry });
        if let Some(material) = &self.source {
            source["uri"] = material.uri.clone().into();
            source["digest"] = json!({ material.algorithm: material.digest });
        }
        let mut predicate = json!({ "builder": { "id": form.builder }, "buildType": BUILD_TYPE });
        if !self.materials.is_empty() {
            predicate["materials"] = self.materials.iter().map(Material::json).collect();
        }
        predicate["invocation"] = json!({
            "configSource": source,
            "parameters": self.parameters(form.mode),
            "environment": { "platform": Platform::linux(arch).to_string() },
        });
        if form.mode == ProvenanceMode::Most {
            predicate["buildConfig"] = super::provenance_steps::definition(&self.steps);
        }
        let mut metadata = json!({
            "buildInvocationID": self.invocation(),
            "buildStartedOn": timestamp::nanoseconds(self.started),
            "buildFinishedOn": timestamp::nanoseconds(self.finished),
            "completeness": {
                "parameters": self.are_parameters_whole(form.mode),
                "environment": true,
                "materials": self.are_materials_whole(),
            },
            "reproducible": form.reproducible || self.is_settled,
        });
        if self.are_materials_whole() && !self.is_networked {
            metadata[format!("{BUILD_TYPE}#hermetic")] = true.into();
        }
        metadata[format!("{BUILD_TYPE}#metadata")] = self.about_steps(form.mode);
        predicate["metadata"] = metadata;
        predicate
    }

    fn predicate_v1(&self, form: &ProvenanceForm, arch: Arch) -> Value {
        let mut source = json!({ "path": self.entry });
        if let Some(material) = &self.source {
            source["uri"] = material.uri.clone().into();
            source["digest"] = json!({ material.algorithm: material.digest });
        }
        let mut internal = json!({ "builderPlatform": Platform::linux(arch).to_string() });
        if form.mode == ProvenanceMode::Most {
            internal["buildConfig"] = super::provenance_steps::definition(&self.steps);
        }
        let mut definition = json!({
            "buildType": BUILD_TYPE_V1,
            "externalParameters": { "configSource": source, "request": self.parameters(form.mode) },
            "internalParameters": internal,
        });
        if !self.materials.is_empty() {
            definition["resolvedDependencies"] = self.materials.iter().map(Material::json).collect();
        }
        json!({
            "buildDefinition": definition,
            "runDetails": {
                "builder": { "id": form.builder },
                "metadata": {
                    "invocationID": self.invocation(),
                    "startedOn": timestamp::nanoseconds(self.started),
                    "finishedOn": timestamp::nanoseconds(self.finished),
                    "buildkit_completeness": {
                        "request": self.are_parameters_whole(form.mode),
                        "resolvedDependencies": self.are_materials_whole(),
                    },
                    "buildkit_hermetic": self.are_materials_whole() && !self.is_networked,
                    "buildkit_reproducible": form.reproducible || self.is_settled,
                    "buildkit_metadata": self.about_steps(form.mode),
                },
            },
        })
    }
}

/// What a build was asked, by BuildKit's names; proxies may hold a login, and are part of nothing.
fn arguments(request: &BuildRequest) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in &request.args {
        if !PROXY_ARGS.contains(&name.as_str()) {
            all.insert(format!("build-arg:{name}"), value.clone());
        }
    }
    for (name, value) in &request.labels {
        all.insert(format!("label:{name}"), value.clone());
    }
    for (name, context) in &request.contexts {
        let value = match context {
            NamedContext::Folder(_) => format!("local:{name}"),
            NamedContext::Image(image) => format!("docker-image://{image}"),
            NamedContext::Kept(place, _) => place.clone(),
        };
        all.insert(format!("context:{name}"), value);
    }
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value);
        }
    };
    put("target", request.target.clone());
    put(
        "no-cache",
        match (request.no_cache, request.no_cache_stages.is_empty()) {
            (true, _) => Some(String::new()),
            (false, true) => None,
            (false, false) => Some(request.no_cache_stages.join(",")),
        },
    );
    put("shm-size", request.shared_memory.map(|bytes| bytes.to_string()));
    put(
        "force-network-mode",
        (request.network == StepNetwork::None).then(|| "none".into()),
    );
    let hosts: Vec<String> = request
        .hosts
        .iter()
        .map(|(name, address)| format!("{name}={address}"))
        .collect();
    put(
        "add-hosts",
        Some(hosts.join(",")).filter(|hosts| !hosts.is_empty()),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn materials_are_named_as_buildkit_names_them() {
        let digest = Digest::of(b"x");
        let of = |name: &str, stands_in| {
            Material::image(&Reference::parse(name).unwrap(), Arch::Amd64, &digest, stands_in).uri
        };
        assert_eq!(
            of("alpine:3.18", false),
            "pkg:docker/alpine@3.18?platform=linux%2Famd64"
        );
        assert_eq!(
            of("ghcr.io/a/b:1", false),
            "pkg:docker/ghcr.io/a/b@1?platform=linux%2Famd64"
        );
        assert_eq!(
            of("python:3.11", true),
            "pkg:docker/coil.local/stand-in/python@3.11?platform=linux%2Famd64"
        );
        let commit = Material::commit("https://user:word@host/a.git", Some("main"), "abc");
        assert!(
            !commit.uri.contains("word") && commit.uri.ends_with("host/a.git#main"),
            "{}",
            commit.uri
        );
    }

    #[test]
    fn arguments_are_told_only_where_everything_is() {
        let provenance = Provenance {
            args: BTreeMap::from([
                ("build-arg:TOKEN".to_owned(), "word".to_owned()),
                ("target".to_owned(), "a".to_owned()),
            ]),
            secrets: BTreeMap::from([("pip".to_owned(), true)]),
            ..Provenance::default()
        };
        for is_v1 in [false, true] {
            let told = |mode| {
                let form = ProvenanceForm {
                    mode,
                    is_v1,
                    ..ProvenanceForm::default()
                };
                provenance.predicate(&form, Arch::Amd64).to_string()
            };
            let (least, most) = (told(ProvenanceMode::Least), told(ProvenanceMode::Most));
            assert!(!least.contains("TOKEN") && least.contains("\"target\":\"a\"") && !least.contains("pip"));
            assert!(most.contains("word") && most.contains("pip"));
        }
    }
}
