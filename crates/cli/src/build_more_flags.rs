//! Flags of builds that concern what lies around the image: caches, annotations, rights, attestations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use crate::build_flags::no_push;
use crate::report::Failure;

/// The flags.
#[derive(Debug, Args)]
pub struct MoreFlags {
    /// Read what another build kept: type=local,src=FOLDER
    #[arg(long = "cache-from", value_name = "CACHE")]
    cache_from: Vec<String>,
    /// Keep what this build rests on for others: type=local,dest=FOLDER
    #[arg(long = "cache-to", value_name = "CACHE")]
    cache_to: Vec<String>,
    /// Annotate the image: [manifest:|index:]KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE")]
    annotations: Vec<String>,
    /// Let steps do more: security.insecure or network.host
    #[arg(long = "allow", value_name = "RIGHT", value_delimiter = ',')]
    allow: Vec<String>,
    /// Send the image to a registry
    #[arg(long)]
    push: bool,
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    provenance: Option<String>,
    #[arg(long, value_name = "GENERATOR", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    sbom: Option<String>,
    #[arg(long, value_name = "ATTESTATION", hide = true)]
    attest: Vec<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    cgroup_parent: Option<String>,
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
}

/// What they say.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct More {
    /// Folders of caches that are read.
    pub cache_from: Vec<PathBuf>,
    /// Folders of caches that are written.
    pub cache_to: Vec<PathBuf>,
    /// Annotations of manifests.
    pub annotations: BTreeMap<String, String>,
    /// Annotations of the index.
    pub index_annotations: BTreeMap<String, String>,
    /// Whether steps may ask for everything.
    pub insecure: bool,
}

impl MoreFlags {
    /// Reads them.
    ///
    /// # Errors
    /// What can't be honoured, by its name.
    pub fn read(&self) -> Result<More, Failure> {
        let refused = |what: String, help: &str| Err(Failure::new(what).help(help).code(125));
        if self.push {
            return Err(no_push("--push"));
        }
        let is_off = |text: &String| ["false", "0", "disabled"].contains(&text.as_str());
        for (name, value) in [("--provenance", &self.provenance), ("--sbom", &self.sbom)] {
            if let Some(value) = value.as_ref().filter(|value| !is_off(value)) {
                return refused(
                    format!(
                        "{name}={value} cannot be honoured: coil attaches no attestations to what a Dockerfile makes"
                    ),
                    "leave it out; `coil sbom IMAGE` writes the bill of materials of a packed image",
                );
            }
        }
        if let Some(text) = self.attest.iter().find(|text| !text.contains("disabled=true")) {
            return refused(
                format!(
                    "--attest {text} cannot be honoured: coil attaches no attestations to what a Dockerfile makes"
                ),
                "leave it out",
            );
        }
        if let Some(name) = &self.cgroup_parent {
            return refused(
                format!("--cgroup-parent {name} cannot be honoured: steps have control groups of coil's own"),
                "leave it out",
            );
        }
        if let Some(name) = self.builder.as_ref().filter(|name| *name != "default") {
            return refused(
                format!("--builder {name}: there is no such builder, coil builds by itself"),
                "leave it out",
            );
        }
        let mut more = More::default();
        for text in &self.cache_from {
            more.cache_from.push(local(text, "--cache-from", "src")?);
        }
        for text in &self.cache_to {
            more.cache_to.push(local(text, "--cache-to", "dest")?);
        }
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
                _ => {
                    return refused(
                        format!("--allow {right} cannot be honoured"),
                        "give security.insecure or network.host",
                    );
                }
            }
        }
        Ok(more)
    }
}

/// The folder of `type=local,src=FOLDER`.
fn local(text: &str, flag: &str, key: &str) -> Result<PathBuf, Failure> {
    let bad = |why: String| {
        Failure::new(format!("{flag} {text} cannot be honoured: {why}"))
            .help(format!(
                "give {flag} type=local,{key}=FOLDER; what is built here is found again without it"
            ))
            .code(125)
    };
    let (mut kind, mut folder) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("type", value)) => kind = Some(value),
            Some((name, value)) if name == key => folder = Some(PathBuf::from(value)),
            // All that a build rests on is kept, as it is.
            Some(("mode", "min" | "max")) => {}
            _ => return Err(bad(format!("`{field}` is unknown"))),
        }
    }
    match (kind, folder) {
        (Some("local"), Some(folder)) => Ok(folder),
        (Some("local"), None) => Err(bad(format!("it needs {key}=FOLDER"))),
        (Some(kind), _) => Err(bad(format!("caches of the type {kind} are not read or written"))),
        (None, _) => Err(bad("it has no type".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_are_folders() {
        assert_eq!(
            local("type=local,dest=x,mode=max", "--cache-to", "dest").unwrap(),
            PathBuf::from("x")
        );
        for wrong in [
            "type=gha",
            "type=local",
            "user/app:cache",
            "type=local,dest=x,compression=zstd",
        ] {
            assert!(local(wrong, "--cache-to", "dest").is_err(), "{wrong}");
        }
    }
}
