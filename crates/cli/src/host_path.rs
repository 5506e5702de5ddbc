//! Paths of the host among the words of a command: a project's folder, the source of a bind.

use std::path::PathBuf;

use coil_engine::Engine;
use coil_store::StoreError;

use crate::settings::Settings;

/// The folder that a word means, when it is one: by its look, or because no image has this name.
pub fn project_folder(word: &str, engine: &Engine, settings: &Settings) -> Option<PathBuf> {
    let home = settings.environment().home();
    let path = match (word.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(&rest[1..]),
        _ => PathBuf::from(word),
    };
    let looks_so = [".", "..", "~"].contains(&word)
        || ["./", "../", "/", "~/"]
            .iter()
            .any(|begin| word.starts_with(begin));
    if looks_so || (path.is_dir() && matches!(engine.store().find(word), Err(StoreError::NoSuchImage(_)))) {
        return Some(std::path::absolute(&path).unwrap_or(path));
    }
    None
}

/// Why a file can't be used, in the system's words alone, as Docker's client tells it.
pub fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

/// `./data:/data` with the folder's whole path.
pub fn absolute_source(volume: &str) -> String {
    match volume.split_once(':') {
        Some((source, rest))
            if source == "." || source == ".." || source.starts_with("./") || source.starts_with("../") =>
        {
            let path = std::path::absolute(source).unwrap_or_else(|_| PathBuf::from(source));
            format!("{}:{rest}", path.display())
        }
        _ => volume.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_beside_us_become_absolute() {
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(
            absolute_source("./data:/data:ro"),
            format!("{}/data:/data:ro", here.display())
        );
        for volume in ["/a:/b", "name:/b", "/a"] {
            assert_eq!(absolute_source(volume), volume);
        }
    }
}
