//! What came of a pack, for people and for programs.

use std::path::PathBuf;

use coil_build::sharing::{Change, Sharing};
use coil_build::{HEAVY, LayerKind, LayerReport, PackedImage};
use coil_engine::pack::{PackResult, PackTarget};
use coil_oci::Reference;
use serde_json::json;

use crate::output;
use crate::quantity::human_size;
use crate::table::short_id;

/// The id of one image, or the digest of the index of several.
pub fn image_id(result: &PackResult) -> String {
    match result.packed.images.as_slice() {
        [only] => only.id.to_string(),
        _ => result.packed.descriptor.digest.to_string(),
    }
}

/// What came of a pack, for programs.
pub fn object(result: &PackResult) -> serde_json::Value {
    let names: Vec<String> = result.names.iter().map(Reference::familiar).collect();
    json!({
        "names": names,
        "digest": result.packed.descriptor.digest,
        "mediaType": result.packed.descriptor.media_type,
        "unchanged": result.unchanged,
        "images": result.packed.images,
        "notes": result.packed.notes,
        "sharing": result.sharing,
    })
}

/// What came of a pack, in a few lines.
pub fn summary(result: &PackResult, target: &PackTarget, bills: &[PathBuf]) {
    for image in &result.packed.images {
        let size = human_size(image.layers.iter().map(|layer| layer.size).sum());
        let id = short_id(image.id.hex());
        output::line(&format!(
            "{}  {id}  {size} in {} layers",
            image.platform,
            image.layers.len()
        ));
    }
    let state = if result.unchanged { "unchanged" } else { "packed" };
    for name in &result.names {
        output::line(&format!("{state} {}", name.familiar()));
    }
    for place in &target.outputs {
        output::line(&format!("wrote {place}"));
    }
    for file in bills {
        output::line(&format!("wrote {}", file.display()));
    }
}

/// The whole plan of each image, and what it shares with another one.
pub fn explain_all(result: &PackResult) {
    for (number, image) in result.packed.images.iter().enumerate() {
        explain(image);
        match result.sharing.get(number) {
            Some(Some(sharing)) => shared_lines(sharing).iter().for_each(|line| output::line(line)),
            _ => output::line("shares    nothing: the store has no other image of this platform"),
        }
    }
}

/// What an image shares with another one, and what is new in it.
fn shared_lines(sharing: &Sharing) -> Vec<String> {
    let size = human_size;
    if sharing.same {
        return vec![format!("shares    all of it: {} is the same image", sharing.with)];
    }
    let mut lines = vec![format!(
        "shares    {} of {} layers, {} of {}, with {}",
        sharing.layers,
        sharing.of_layers,
        size(sharing.bytes),
        size(sharing.of_bytes),
        sharing.with
    )];
    for layer in &sharing.new {
        let change = |change: &Change| match &change.before {
            Some(before) => format!("{} {before} → {}", change.name, change.now),
            None => format!("{} {} is new", change.name, change.now),
        };
        let mut words: Vec<String> = layer.changes.iter().map(change).collect();
        if layer.carried > 0 {
            words.push(format!("{} in the same layer are as they were", layer.carried));
        }
        lines.push(format!(
            "new       {:<13}{:>8}   {}",
            layer.kind,
            size(layer.size),
            short_id(layer.digest.hex())
        ));
        lines.extend(
            wrapped(&words)
                .into_iter()
                .map(|line| format!("            {line}")),
        );
    }
    let gone = wrapped(&sharing.gone);
    if !gone.is_empty() {
        lines.push("gone".into());
        lines.extend(gone.into_iter().map(|line| format!("            {line}")));
    }
    lines
}

/// Why a layer is one of its own.
fn why(layer: &LayerReport) -> &'static str {
    match (layer.kind, layer.packages.len()) {
        (LayerKind::Base, _) => "the same for every project on this base",
        (LayerKind::Libraries, _) => "Debian packages that this project's wheels need",
        (LayerKind::Bytecode, _) => "the standard library compiled, once for each interpreter",
        (LayerKind::Environment, _) => "the empty environment, the same for every project",
        (LayerKind::Packages, 1) if layer.size >= HEAVY => "heavy: the same blob in every image that has it",
        (LayerKind::Packages, _) => "a bucket that the packages' names choose: a change moves it alone",
        (LayerKind::App, _) => "the project itself, which changes most",
    }
}

/// The whole plan of an image, and why it is so.
fn explain(image: &PackedImage) {
    let row = |name: &str, value: &str, reason: &str| {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!("   ({reason})")
        };
        output::line(&format!("{name:<10}{value}{reason}"));
    };
    row("platform", &image.platform, "");
    row("python", &image.python.value, &image.python.reason);
    row("base", &image.base.value, &image.base.reason);
    row("packages", &image.packages_from, "");
    row("command", &image.command.join(" "), &image.command_found_in);
    row("user", &image.user, &image.user_reason);
    for port in &image.ports {
        row("port", port, "");
    }
    for (name, value) in &image.env {
        row("env", &format!("{name}={value}"), "");
    }
    for (number, layer) in image.layers.iter().enumerate() {
        let (size, unpacked) = (human_size(layer.size), human_size(layer.unpacked));
        let digest = short_id(layer.digest.hex());
        let kind = layer.kind.to_string();
        output::line(&format!(
            "layer {:<4}{kind:<13}{size:>8}, {unpacked:>8} unpacked   {digest}   ({})",
            number + 1,
            why(layer)
        ));
        for line in wrapped(&layer.packages) {
            output::line(&format!("            {line}"));
        }
    }
}

/// Joins words with commas into lines that fit beside an indentation.
fn wrapped(words: &[String]) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.len() + word.len() < WIDTH) {
            Some(line) => line.extend([", ", word]),
            None => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_packages_are_wrapped() {
        let words: Vec<String> = (0..20).map(|number| format!("package-{number} 1.0")).collect();
        let lines = wrapped(&words);
        assert!(
            lines.len() > 1 && lines.iter().all(|line| line.len() <= 98),
            "{lines:?}"
        );
        assert_eq!(lines.join(", "), words.join(", "));
    }
}
