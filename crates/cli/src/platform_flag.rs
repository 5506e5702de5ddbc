//! `--platform` where an image of the store is meant: it has to be for that platform.

use coil_engine::Engine;
use coil_oci::Arch;

use crate::report::Failure;

/// A platform's system and processor.
///
/// # Errors
/// When it is none, in Docker's words.
pub fn parse(text: &str) -> Result<(String, String), Failure> {
    let wrong = || {
        Failure::new(format!(
            "{text:?}: cannot parse platform specifier: invalid argument"
        ))
        .help("give a platform such as linux/amd64 or linux/arm64")
    };
    let plain = |part: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        !part.is_empty() && part.bytes().all(known)
    };
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 || !parts.iter().all(plain) {
        return Err(wrong());
    }
    let processor = |name: &str| match name {
        "x86_64" | "x86-64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    Ok(match parts.as_slice() {
        ["linux"] => ("linux".to_owned(), Arch::host().name().to_owned()),
        [one] => ("linux".to_owned(), processor(one)),
        [system, name, ..] => ((*system).to_owned(), processor(name)),
        [] => return Err(wrong()),
    })
}

/// Looks whether an image is for the platform that was asked for, if one was. What isn't there is told by who looks for it.
///
/// # Errors
/// When it is for another, or the platform is none.
pub fn check(engine: &Engine, image: &str, platform: Option<&str>) -> Result<(), Failure> {
    let Some(text) = platform else { return Ok(()) };
    let (system, processor) = parse(text)?;
    let Ok(object) = engine.inspect_image(image) else {
        return Ok(());
    };
    if object["Os"] == system.as_str() && object["Architecture"] == processor.as_str() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "image with reference {image} was found but does not provide the specified platform ({system}/{processor})"
    ))
    .help("leave --platform out: `coil image inspect` shows what the image is for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read() {
        let read = |text: &str| parse(text).ok().map(|(system, name)| format!("{system}/{name}"));
        assert_eq!(read("linux/amd64").as_deref(), Some("linux/amd64"));
        assert_eq!(read("aarch64").as_deref(), Some("linux/arm64"));
        assert_eq!(read("linux/arm64/v8").as_deref(), Some("linux/arm64"));
        for wrong in ["", "a/b/c/d", "linux/", "a b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
