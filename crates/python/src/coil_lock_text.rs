//! `coil.lock` as text: written by hand, so that one package's file is one line and changes are read easily.

use std::fmt::Write as _;

use crate::coil_lock::{BasePackage, CoilLock};
use crate::pinned::{Artifact, ArtifactKind, Direct, Pinned};

impl CoilLock {
    /// The file's text: the same for the same content, one package's file a line.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by coil. Renew it with `coil pack --upgrade`.\nversion = {}\n",
            self.version
        );
        for base in &self.bases {
            text.push_str("\n[[base]]\n");
            put(&mut text, "arch", base.arch.name());
            put(&mut text, "suite", &base.suite);
            put_some(
                &mut text,
                "release-digest",
                base.release_digest.as_ref().map(ToString::to_string).as_deref(),
            );
            put_some(&mut text, "date", base.date.as_deref());
            put_some(&mut text, "python", base.python.as_deref());
            for package in &base.packages {
                text.push_str("\n[[base.package]]\n");
                write_debian_package(&mut text, package);
            }
        }
        for addition in &self.additions {
            text.push_str("\n[[addition]]\n");
            put(&mut text, "arch", addition.arch.name());
            put(&mut text, "suite", &addition.suite);
            let names: Vec<String> = addition.names.iter().map(|name| quoted(name)).collect();
            let _ = writeln!(text, "names = [{}]", names.join(", "));
            put(&mut text, "over", &addition.over.to_string());
            put(&mut text, "release-digest", &addition.release_digest.to_string());
            put(&mut text, "date", &addition.date);
            for package in &addition.packages {
                text.push_str("\n[[addition.package]]\n");
                write_debian_package(&mut text, package);
            }
        }
        for image in &self.images {
            text.push_str("\n[[image]]\n");
            put(&mut text, "reference", &image.reference);
            put(&mut text, "digest", &image.digest.to_string());
            if image.stand_in {
                text.push_str("stand-in = true\n");
            }
        }
        crate::system_pins::write(&mut text, &self.stand_ins);
        for resolution in &self.resolutions {
            text.push_str("\n[[resolution]]\n");
            put(&mut text, "arch", resolution.arch.name());
            put(&mut text, "python", &resolution.python);
            put(&mut text, "inputs", &resolution.inputs.to_string());
            for package in &resolution.packages {
                write_package(&mut text, package);
            }
        }
        text
    }
}

pub(crate) fn write_debian_package(text: &mut String, package: &BasePackage) {
    put(text, "name", &package.name);
    put(text, "version", &package.version);
    put(text, "arch", &package.arch);
    put(text, "sha256", &package.sha256);
    let _ = writeln!(text, "size = {}", package.size);
    put(text, "filename", &package.filename);
    put_some(text, "archive", package.archive.as_deref());
}

fn write_package(text: &mut String, package: &Pinned) {
    text.push_str("\n[[resolution.package]]\n");
    put(text, "name", package.name.as_ref());
    put_some(
        text,
        "version",
        package.version.as_ref().map(ToString::to_string).as_deref(),
    );
    put_some(text, "index", package.index.as_deref());
    let list = |items: Vec<String>| {
        items
            .iter()
            .map(|item| quoted(item))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if !package.extras.is_empty() {
        let _ = writeln!(
            text,
            "extras = [{}]",
            list(package.extras.iter().map(ToString::to_string).collect())
        );
    }
    if !package.hashes.is_empty() {
        let _ = writeln!(
            text,
            "hashes = [{}]",
            list(package.hashes.iter().map(ToString::to_string).collect())
        );
    }
    if let Some(direct) = &package.direct {
        let _ = writeln!(text, "direct = {{ {} }}", inline(&direct_fields(direct)));
    }
    if package.artifacts.is_empty() {
        return;
    }
    text.push_str("artifacts = [\n");
    for artifact in &package.artifacts {
        let _ = writeln!(text, "    {{ {} }},", inline(&artifact_fields(artifact)));
    }
    text.push_str("]\n");
}

fn direct_fields(direct: &Direct) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let mut add = |name, value: &str| fields.push((name, quoted(value)));
    match direct {
        Direct::Url { url, subdirectory } => {
            add("kind", "url");
            add("url", url);
            subdirectory.iter().for_each(|value| add("subdirectory", value));
        }
        Direct::Git {
            url,
            commit,
            requested,
            subdirectory,
        } => {
            add("kind", "git");
            add("url", url);
            add("commit", commit);
            requested.iter().for_each(|value| add("requested", value));
            subdirectory.iter().for_each(|value| add("subdirectory", value));
        }
        Direct::Path { path } => {
            add("kind", "path");
            add("path", path);
        }
        Direct::Directory {
            path,
            editable,
            is_virtual,
        } => {
            add("kind", "directory");
            add("path", path);
            fields.push(("editable", editable.to_string()));
            if *is_virtual {
                fields.push(("virtual", "true".to_owned()));
            }
        }
    }
    fields
}

fn artifact_fields(artifact: &Artifact) -> Vec<(&'static str, String)> {
    let kind = match artifact.kind {
        ArtifactKind::Wheel => "wheel",
        ArtifactKind::Sdist => "sdist",
    };
    let mut fields = vec![("filename", quoted(&artifact.filename)), ("kind", quoted(kind))];
    fields.extend(artifact.url.iter().map(|url| ("url", quoted(url))));
    fields.extend(artifact.path.iter().map(|path| ("path", quoted(path))));
    fields.extend(
        artifact
            .sha256
            .iter()
            .map(|digest| ("sha256", quoted(&digest.to_string()))),
    );
    fields.extend(artifact.size.iter().map(|size| ("size", size.to_string())));
    // Once the file was fetched its SHA-256 says more.
    let other = artifact.other_hash.iter().filter(|_| artifact.sha256.is_none());
    fields.extend(other.map(|hash| ("other_hash", quoted(hash))));
    fields
}

fn inline(fields: &[(&str, String)]) -> String {
    fields
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

pub(crate) fn put(text: &mut String, key: &str, value: &str) {
    let _ = writeln!(text, "{key} = {}", quoted(value));
}

fn put_some(text: &mut String, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        put(text, key, value);
    }
}

/// A TOML basic string.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
