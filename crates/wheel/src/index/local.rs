//! Find-links places and indices on this machine's disk.

use std::path::{Path, PathBuf};

use super::{IndexError, IndexFile, page};

/// The path that an address or a setting means, where it is no address on the network.
pub(super) fn path_of(place: &str) -> Option<PathBuf> {
    match place.strip_prefix("file://") {
        Some(path) => {
            let path = path.strip_prefix("localhost").unwrap_or(path);
            Some(PathBuf::from(coil_fetch::percent_decode(path)))
        }
        None => (!place.contains("://")).then(|| PathBuf::from(place)),
    }
}

/// What a file, a folder or a page holds; a place that is not there holds nothing.
pub(super) fn place(place: &Path) -> Result<Vec<IndexFile>, IndexError> {
    if is_distribution(place) {
        return Ok(local_file(place).into_iter().collect());
    }
    if place.is_file() {
        return page_file(place);
    }
    let failed = |source| IndexError::Place {
        path: place.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if is_distribution(&path) {
            files.extend(local_file(&path));
        }
    }
    files.sort_by(|left, right| left.filename.cmp(&right.filename));
    Ok(files)
}

/// The page of a project in an index on the disk: the folder's `index.html`, else the folder itself; none without a folder.
pub(super) fn index_page(folder: &Path) -> Result<Option<Vec<IndexFile>>, IndexError> {
    let page = folder.join("index.html");
    if page.is_file() {
        return page_file(&page).map(Some);
    }
    match folder.is_dir() {
        true => place(folder).map(Some),
        false => Ok(None),
    }
}

fn page_file(path: &Path) -> Result<Vec<IndexFile>, IndexError> {
    let body = std::fs::read(path).map_err(|source| IndexError::Place {
        path: path.to_owned(),
        source,
    })?;
    let base = format!("file://{}", path.display());
    page::parse(&base, "text/html", &body).map_err(|what| IndexError::Page {
        url: path.display().to_string(),
        what,
    })
}

fn is_distribution(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

fn local_file(path: &Path) -> Option<IndexFile> {
    let size = path.metadata().ok()?.len();
    Some(IndexFile {
        filename: path.file_name()?.to_str()?.to_owned(),
        url: path.to_str()?.to_owned(),
        size: Some(size),
        ..IndexFile::default()
    })
}
