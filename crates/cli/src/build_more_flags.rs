//! Flags of builds that concern what lies around the image: caches, annotations, rights, attestations.

use std::collections::BTreeMap;

use clap::Args;
use coil_build::dockerfile::{Attestations, DeviceRight};

use crate::build_attestations;
use crate::build_caches::{self, CacheSources, CacheTargets};
use crate::build_flags::no_push;
use crate::report::Failure;

/// The flags.
#[derive(Debug, Args)]
pub struct MoreFlags {
    /// Read what another build kept: type=local,src=FOLDER, or an image that holds it
    #[arg(long = "cache-from", value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Keep what this build rests on for others: type=local,dest=FOLDER, or type=inline in the image
    #[arg(long = "cache-to", value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Annotate the image: [manifest:|index:]KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Let steps do more: security.insecure, network.host or device[=NAME]
    #[arg(long = "allow", value_name = "RIGHT")]
    allow: Vec<String>,
    /// Send the image to a registry
    #[arg(long)]
    push: bool,
    /// Tell how the image was made: mode=min or mode=max
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provenance: Option<String>,
    /// Add a bill of materials
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sbom: Option<String>,
    /// Tell of the image, beside it: type=provenance,mode=min|max or type=sbom
    #[arg(long, value_name = "ATTESTATION")]
    attest: Vec<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
}

/// What they say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct More {
    /// Caches that are read.
    pub cache_from: CacheSources,
    /// Caches that are written.
    pub cache_to: CacheTargets,
    /// Annotations of manifests.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the index.
    pub index_annotations: BTreeMap<String, String>,
    /// Whether steps may ask for everything.
    pub insecure: bool,
    /// The devices that steps may ask for.
    pub devices: Vec<DeviceRight>,
    /// What is told of the image.
    pub attestations: Attestations,
}

impl MoreFlags {
    /// The builder's name.
    pub fn builder(&self) -> Option<&str> {
        self.builder.as_deref()
    }

    /// Reads them.
    ///
    /// # Errors
    /// What can't be honoured, by its name.
    pub fn read(&self) -> Result<More, Failure> {
        let refused = |what: String, help: &str| Err(Failure::new(what).help(help).code(125));
        if self.push {
            return Err(no_push("--push"));
        }
        let mut more = More {
            cache_from: build_caches::sources(&self.cache_from)?,
            cache_to: build_caches::targets(&self.cache_to)?,
            attestations: build_attestations::read(
                &self.attest,
                self.provenance.as_deref(),
                self.sbom.as_deref(),
            )?,
            ..More::default()
        };
        for text in &self.annotations {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let (kinds, key) = key.split_once(':').unwrap_or(("manifest", key));
            for kind in kinds.split(',') {
                let set = match kind.split('[').next().unwrap_or(kind) {
                    "manifest" if !kind.contains('[') => &mut more.annotations,
                    "index" => &mut more.index_annotations,
                    _ => {
                        return refused(
                            format!("--annotation {text} cannot be honoured"),
                            "give KEY=VALUE, manifest:KEY=VALUE or index:KEY=VALUE",
                        );
                    }
                };
                set.insert(key.to_owned(), value.to_owned());
            }
        }
        for right in &self.allow {
            match right.as_str() {
                "security.insecure" => more.insecure = true,
                // Steps have the host's network as it is.
                "network.host" => {}
                "device" => more.devices.push(DeviceRight::All),
                _ => match right.strip_prefix("device=") {
                    Some(name) if !name.is_empty() => {
                        // `NAME,alias=OTHER` would let the Dockerfile call it something else.
                        let name = name.split(',').next().unwrap_or(name);
                        more.devices.push(DeviceRight::Named(name.to_owned()));
                    }
                    _ => {
                        return refused(
                            format!("--allow {right} cannot be honoured"),
                            "give security.insecure, network.host, device or device=VENDOR/CLASS=NAME",
                        );
                    }
                },
            }
        }
        Ok(more)
    }
}
