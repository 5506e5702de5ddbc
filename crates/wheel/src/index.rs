//! The client of package indices: simple-repository pages (PEP 503, 691, 592, 700) and find-links places.
//!
//! Indices never mix silently: the first one that knows a project is the only one asked about it, extra indices before the
//! main one, as uv does. What find-links places hold is added to it.

mod error;
mod html;
mod page;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use coil_fetch::{FetchError, Fetcher};
use coil_oci::Digest;
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::filename::{DistributionName, normalise, same_version};

pub use error::IndexError;
pub use page::parse as parse_page;

/// The index that is asked when no other is set.
pub const DEFAULT_INDEX: &str = "https://pypi.org/simple/";
const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// Which indices there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexSettings {
    /// The main index; [`DEFAULT_INDEX`] when none is given.
    pub index_url: Option<String>,
    /// Indices asked before the main one, in this order.
    pub extra: Vec<String>,
    /// Folders, files and pages that hold distributions or links to them.
    pub find_links: Vec<String>,
    /// Whether only the find-links places count.
    pub no_index: bool,
}

impl IndexSettings {
    /// The indices in the order in which they are asked.
    pub fn indices(&self) -> Vec<String> {
        if self.no_index {
            return Vec::new();
        }
        let main = self.index_url.as_deref().unwrap_or(DEFAULT_INDEX);
        self.extra
            .iter()
            .map(String::as_str)
            .chain([main])
            .map(|url| format!("{}/", url.trim_end_matches('/')))
            .collect()
    }

    /// The address with the login that the settings hold for its server, where it has none itself.
    pub fn with_login(&self, url: &str) -> String {
        let Some((scheme, rest)) = url.split_once("://") else {
            return url.to_owned();
        };
        let (authority, _) = split_authority(rest);
        if authority.contains('@') {
            return url.to_owned();
        }
        let places = self.extra.iter().chain(&self.index_url).chain(&self.find_links);
        let login = places
            .filter_map(|place| place.split_once("://"))
            .find_map(|(place_scheme, place)| {
                let (login, host) = split_authority(place).0.rsplit_once('@')?;
                (place_scheme == scheme && host.eq_ignore_ascii_case(authority)).then_some(login)
            });
        match login {
            Some(login) => format!("{scheme}://{login}@{rest}"),
            None => url.to_owned(),
        }
    }
}

fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// The address without a login, fit to be recorded.
pub fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = split_authority(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// A file that an index offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexFile {
    /// Its name.
    pub filename: String,
    /// Its address without a login, or an absolute path for a local file.
    pub url: String,
    /// Its digest, where the index tells.
    pub sha256: Option<Digest>,
    /// Its size in bytes, where the index tells.
    pub size: Option<u64>,
    /// The Python versions it is for, as the index writes them.
    pub requires_python: Option<String>,
    /// Why it was taken back; empty where no reason is given (PEP 592).
    pub yanked: Option<String>,
    /// When it was uploaded, as the index writes it.
    pub upload_time: Option<String>,
}

/// What an index, or all of them, offer of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProjectFiles {
    /// The index that was chosen, without a login; none when only find-links places know the project.
    pub index: Option<String>,
    /// The files, those of find-links places first.
    pub files: Vec<IndexFile>,
}

/// A page as it is kept between runs.
#[derive(Serialize, Deserialize)]
struct KeptPage {
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    files: Vec<IndexFile>,
}

/// Asks indices, each page once in its life.
pub struct IndexClient<'a> {
    store: &'a Store,
    fetcher: &'a Fetcher,
    settings: &'a IndexSettings,
    pages: Mutex<BTreeMap<String, Option<Vec<IndexFile>>>>,
}

impl<'a> IndexClient<'a> {
    /// A client that has asked nothing yet.
    pub fn new(store: &'a Store, fetcher: &'a Fetcher, settings: &'a IndexSettings) -> IndexClient<'a> {
        IndexClient {
            store,
            fetcher,
            settings,
            pages: Mutex::new(BTreeMap::new()),
        }
    }

    /// The settings it works with.
    pub fn settings(&self) -> &IndexSettings {
        self.settings
    }

    /// Everything that is offered of a project.
    ///
    /// An index that doesn't know the project (404) gives way to the next; any other failure ends the search, because going
    /// on could take the project from the wrong place.
    pub fn project(&self, name: &str) -> Result<ProjectFiles, IndexError> {
        let name = normalise(name);
        let mut found = ProjectFiles::default();
        for place in &self.settings.find_links {
            let files = self.place(place)?;
            found.files.extend(
                files
                    .into_iter()
                    .filter(|file| belongs(&file.filename, &name).is_some()),
            );
        }
        for index in self.settings.indices() {
            if let Some(files) = self.page(&format!("{index}{name}/"))? {
                found.index = Some(without_login(&index));
                found.files.extend(
                    files
                        .into_iter()
                        .filter(|file| belongs(&file.filename, &name).is_some()),
                );
                return Ok(found);
            }
        }
        match found.files.is_empty() {
            false => Ok(found),
            true => Err(IndexError::NoProject {
                name,
                indices: self
                    .settings
                    .indices()
                    .iter()
                    .map(|url| without_login(url))
                    .collect(),
                find_links: self
                    .settings
                    .find_links
                    .iter()
                    .map(|place| without_login(place))
                    .collect(),
            }),
        }
    }

    /// What is offered of one version of a project, wheels and source distributions.
    pub fn version(&self, name: &str, version: &str) -> Result<ProjectFiles, IndexError> {
        let mut found = self.project(name)?;
        let mut others: Vec<String> = Vec::new();
        found
            .files
            .retain(|file| match belongs(&file.filename, &normalise(name)) {
                Some(told) if same_version(&told.version, version) => true,
                Some(told) => {
                    others.push(told.version);
                    false
                }
                None => false,
            });
        match found.files.is_empty() {
            false => Ok(found),
            true => {
                others.dedup();
                let (name, version) = (normalise(name), version.to_owned());
                Err(IndexError::NoVersion {
                    name,
                    version,
                    index: found.index,
                    last: others.pop(),
                })
            }
        }
    }

    /// The files of one page; none when the server doesn't know it.
    fn page(&self, url: &str) -> Result<Option<Vec<IndexFile>>, IndexError> {
        let pages = || {
            self.pages
                .lock()
                .expect("no thread panics while it holds the pages")
        };
        if let Some(known) = pages().get(url) {
            return Ok(known.clone());
        }
        let files = self.fetch_page(url)?;
        pages().insert(url.to_owned(), files.clone());
        Ok(files)
    }

    /// Fetches a page, or takes the kept one where it is still good or there is no network.
    fn fetch_page(&self, url: &str) -> Result<Option<Vec<IndexFile>>, IndexError> {
        let bare = without_login(url);
        let path = self.store.download_path(
            "indices",
            &format!("simple-{}.json", Digest::of(bare.as_bytes()).hex()),
        );
        let kept: Option<KeptPage> = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|page: &KeptPage| page.url == bare);
        if self.fetcher.is_offline()
            && let Some(kept) = kept
        {
            return Ok(Some(kept.files));
        }
        let (etag, last_modified) = match &kept {
            Some(page) => (page.etag.as_deref(), page.last_modified.as_deref()),
            None => (None, None),
        };
        let fetched = match self.fetcher.get_if_changed(
            &self.settings.with_login(url),
            Some(ACCEPT),
            etag,
            last_modified,
        ) {
            Ok(fetched) => fetched,
            Err(FetchError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(IndexError::Fetch { source }),
        };
        let Some(page) = fetched else {
            return Ok(kept.map(|kept| kept.files));
        };
        let files =
            page::parse(&page.url, &page.content_type, &page.body).map_err(|what| IndexError::Page {
                url: bare.clone(),
                what,
            })?;
        let kept = KeptPage {
            url: bare,
            etag: page.etag,
            last_modified: page.last_modified,
            files,
        };
        if let Ok(text) = serde_json::to_vec(&kept) {
            // A page that cannot be kept is only asked for again.
            let _ = keep(&path, &text);
        }
        Ok(Some(kept.files))
    }

    /// What a find-links place holds; one that is not there holds nothing.
    fn place(&self, place: &str) -> Result<Vec<IndexFile>, IndexError> {
        let local = place.strip_prefix("file://").map(coil_fetch::percent_decode);
        let local = local.or_else(|| (!place.contains("://")).then(|| place.to_owned()));
        let Some(local) = local.map(PathBuf::from) else {
            return Ok(self.page(place)?.unwrap_or_default());
        };
        if is_distribution(&local) {
            return Ok(local_file(&local).into_iter().collect());
        }
        let failed = |source| IndexError::Place {
            path: local.clone(),
            source,
        };
        if local.is_file() {
            let body = std::fs::read(&local).map_err(failed)?;
            let base = format!("file://{}", local.display());
            return page::parse(&base, "text/html", &body).map_err(|what| IndexError::Page {
                url: local.display().to_string(),
                what,
            });
        }
        let entries = match std::fs::read_dir(&local) {
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
}

/// Writes a page beside its place and renames it, so that no reader sees half of it.
fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let temporary = path.with_extension(format!("part-{}-{number}", std::process::id()));
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
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
        sha256: None,
        size: Some(size),
        requires_python: None,
        yanked: None,
        upload_time: None,
    })
}

/// What a file name tells, when it is a distribution of the project.
fn belongs(filename: &str, project: &str) -> Option<DistributionName> {
    let told = DistributionName::wheel(filename).or_else(|| DistributionName::source(filename, project))?;
    (told.name == project).then_some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_indices_come_first_and_no_index_means_none() {
        let mut settings = IndexSettings {
            extra: vec!["https://a.example/simple".into()],
            ..Default::default()
        };
        assert_eq!(settings.indices(), ["https://a.example/simple/", DEFAULT_INDEX]);
        settings.no_index = true;
        assert!(settings.indices().is_empty());
    }

    #[test]
    fn logins_stay_with_their_server_and_out_of_records() {
        let settings = IndexSettings {
            index_url: Some("https://u:p@a.example:8443/simple".into()),
            ..Default::default()
        };
        assert_eq!(
            settings.with_login("https://a.example:8443/f/x.whl"),
            "https://u:p@a.example:8443/f/x.whl"
        );
        assert_eq!(
            settings.with_login("https://b.example/f/x.whl"),
            "https://b.example/f/x.whl"
        );
        assert_eq!(
            settings.with_login("http://a.example:8443/x"),
            "http://a.example:8443/x"
        );
        assert_eq!(
            without_login("https://u:p@a.example/x@y"),
            "https://a.example/x@y"
        );
    }
}
