//! What came of a pack, for people and for programs.

use coil_build::PackedImage;
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
    })
}

/// What came of a pack, in a few lines.
pub fn summary(result: &PackResult, target: &PackTarget) {
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
}

/// The whole plan of an image, and why it is so.
pub fn explain(image: &PackedImage) {
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
    row("user", &image.user, "");
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
            "layer {:<4}{kind:<13}{size:>8}, {unpacked:>8} unpacked   {digest}",
            number + 1
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
