//! Statements about an image: how it was made and what is in it, in a manifest beside it as BuildKit keeps them
//! (BuildKit's "Attestation storage"; in-toto's Statement 0.1).

use std::collections::BTreeMap;

use coil_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use coil_sbom::{Bill, Format, Subject};
use serde_json::{Value, json};

use super::provenance::ProvenanceForm;
use super::{BuildError, BuildRequest, Builder, Built};
use crate::system_components::image_components;

/// The media type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What an entry of an index is about.
const ABOUT: &str = "vnd.docker.reference.digest";
/// What kind of thing an entry of an index is.
const KIND: &str = "vnd.docker.reference.type";
/// The kind of such manifests.
const ATTESTATION: &str = "attestation-manifest";
/// Whoever reads images by platform passes such an entry by.
const NO_PLATFORM: &str = "unknown";
/// The predicate of a bill of materials.
const SPDX: &str = "https://spdx.dev/Document";

/// What is told of an image, beside it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Attestations {
    /// How it was made.
    pub provenance: Option<ProvenanceForm>,
    /// Whether there is a bill of materials.
    pub bill: bool,
}

impl Attestations {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        self.provenance.is_none() && !self.bill
    }
}

/// A statement: the file that it is called where it is written out, what kind it is, and itself.
struct Statement {
    name: &'static str,
    predicate_type: &'static str,
    value: Value,
}

impl Builder<'_> {
    /// Keeps the statements about an image; gives what an index says of them, none where nothing is told.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn attest(
        &self,
        built: &Built,
        request: &BuildRequest,
        names: &[Reference],
        wanted: &Attestations,
    ) -> Result<Option<Descriptor>, BuildError> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let image = &built.descriptor.digest;
        let platform = Platform::linux(request.arch).to_string().replace('/', "%2F");
        let digest = json!({ "sha256": image.hex() });
        let mut subjects: Vec<Value> = names
            .iter()
            .map(|name| {
                let tag = name.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
                let purl = format!("pkg:docker/{}{tag}?platform={platform}", name.familiar_name());
                json!({ "name": purl, "digest": digest })
            })
            .collect();
        if subjects.is_empty() {
            subjects.push(json!({ "name": "_", "digest": digest }));
        }
        let statements = self.statements(built, request, names, wanted, &subjects)?;
        let doing = || BuildError::io("keeping what is told of the image");
        let mut layers = Vec::new();
        for statement in statements {
            let bytes = serde_json::to_vec(&statement.value).unwrap_or_default();
            let blob = self.store.put_blob(&bytes).map_err(doing())?;
            let mut layer = Descriptor::new(IN_TOTO, blob, bytes.len() as u64);
            layer.annotations.insert(
                "in-toto.io/predicate-type".into(),
                statement.predicate_type.into(),
            );
            layers.push(layer);
        }
        let ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
        let config = json!({
            "architecture": NO_PLATFORM,
            "os": NO_PLATFORM,
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config = self
            .store
            .put_document(media_type::CONFIG, &config)
            .map_err(doing())?;
        let manifest = Manifest::image(config, layers);
        let mut descriptor = self
            .store
            .put_document(media_type::MANIFEST, &manifest)
            .map_err(doing())?;
        descriptor.annotations = BTreeMap::from([
            (ABOUT.to_owned(), image.to_string()),
            (KIND.to_owned(), ATTESTATION.to_owned()),
        ]);
        descriptor.platform = Some(Platform {
            os: NO_PLATFORM.into(),
            architecture: NO_PLATFORM.into(),
            variant: None,
        });
        Ok(Some(descriptor))
    }

    /// The statements about an image's files that are written out: files that stand beside them, as names and bytes.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn attest_files(
        &self,
        built: &Built,
        request: &BuildRequest,
        names: &[Reference],
        wanted: &Attestations,
    ) -> Result<Vec<(&'static str, Vec<u8>)>, BuildError> {
        let mut wanted = wanted.clone();
        wanted.provenance = wanted.provenance.filter(|form| !form.inline_only);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let subjects: Vec<Value> = self
            .file_digests(&built.descriptor)?
            .iter()
            .map(|(path, digest)| json!({ "name": path, "digest": { "sha256": digest.hex() } }))
            .collect();
        let statements = self.statements(built, request, names, &wanted, &subjects)?;
        Ok(statements
            .into_iter()
            .map(|statement| {
                let mut bytes = serde_json::to_vec_pretty(&statement.value).unwrap_or_default();
                bytes.push(b'\n');
                (statement.name, bytes)
            })
            .collect())
    }

    fn statements(
        &self,
        built: &Built,
        request: &BuildRequest,
        names: &[Reference],
        wanted: &Attestations,
        subjects: &[Value],
    ) -> Result<Vec<Statement>, BuildError> {
        let of = |name, predicate_type, predicate: Value| Statement {
            name,
            predicate_type,
            value: json!({
                "_type": "https://in-toto.io/Statement/v0.1",
                "predicateType": predicate_type,
                "subject": subjects,
                "predicate": predicate,
            }),
        };
        let mut all = Vec::new();
        if wanted.bill {
            let bill = self.bill(built, request, names)?;
            all.push(of("sbom.spdx.json", SPDX, bill));
        }
        if let Some(form) = &wanted.provenance {
            let predicate = built.provenance.predicate(form, request.arch);
            all.push(of("provenance.json", form.predicate_type(), predicate));
        }
        Ok(all)
    }

    /// What is in an image, as SPDX.
    fn bill(&self, built: &Built, request: &BuildRequest, names: &[Reference]) -> Result<Value, BuildError> {
        let image = self.store.image_of(&built.descriptor)?;
        let mut layers = Vec::new();
        for (blob, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let place = self
                .store
                .ensure_snapshot(diff_id, blob, crate::base::ownership())?;
            layers.push((place, diff_id.clone()));
        }
        let variable = |name: &str| {
            let env = image.config.config.env.iter();
            env.filter_map(|entry| entry.split_once('='))
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        };
        let components = image_components(layers, variable("PYTHON_VERSION").as_deref());
        let created = image.config.created.as_deref().unwrap_or_default();
        let seconds = coil_oci::timestamp::parse(created).unwrap_or(self.now).as_secs();
        let bill = Bill {
            subject: Subject {
                name: names
                    .first()
                    .map_or_else(|| "image".to_owned(), Reference::familiar_name),
                manifest: built.descriptor.digest.clone(),
                architecture: request.arch.name().into(),
                created: coil_oci::timestamp::seconds(seconds),
                tool_version: env!("CARGO_PKG_VERSION").into(),
            },
            components,
        };
        Ok(serde_json::from_slice(&bill.write(Format::Spdx)).unwrap_or_default())
    }
}
