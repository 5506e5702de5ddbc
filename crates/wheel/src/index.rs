//! The client of package indices: simple-repository pages (PEP 503, 691, 592, 658, 700) and find-links places.
//!
//! Indices never mix silently: the first one that knows a project is the only one asked about it, as uv does, unless the user
//! asked for another way. A package that names its index comes from there or not at all. What find-links places hold is added
//! to what the first index has.

mod access;
mod cutoff;
mod error;
mod hash;
mod html;
mod local;
mod location;
mod newest;
mod page;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use coil_fetch::{FetchError, Fetcher};
use coil_oci::Digest;
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::filename::{DistributionName, normalise, same_version};

pub use access::AccessHelp;
pub use cutoff::Cutoff;
pub use error::IndexError;
pub use hash::FileHash;
pub(crate) use location::login_of;
pub use location::without_login;
pub use newest::Newest;
pub use page::parse as parse_page;
pub use settings::{
    Authenticate, DEFAULT_INDEX, Index, IndexLayer, IndexSettings, IndexStrategy, NamedLogin, percent_encode,
};

const ACCEPT: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// A file that an index offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Its hashes by other algorithms, the strongest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<FileHash>,
    /// Whether its metadata can be had without it (PEP 658, 714).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataFile>,
}

/// What an index tells of a file's metadata, which lies beside it as `FILE.metadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataFile {
    /// Its digest, where the index tells.
    pub sha256: Option<Digest>,
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
    notes: Mutex<BTreeSet<String>>,
}

impl<'a> IndexClient<'a> {
    /// A client that has asked nothing yet.
    pub fn new(store: &'a Store, fetcher: &'a Fetcher, settings: &'a IndexSettings) -> IndexClient<'a> {
        IndexClient {
            store,
            fetcher,
            settings,
            pages: Mutex::new(BTreeMap::new()),
            notes: Mutex::new(BTreeSet::new()),
        }
    }

    /// The settings it works with.
    pub fn settings(&self) -> &IndexSettings {
        self.settings
    }

    /// What the user should know of the answers so far: files that were taken back.
    pub fn notes(&self) -> Vec<String> {
        let notes = self
            .notes
            .lock()
            .expect("no thread panics while it holds the notes");
        notes.iter().cloned().collect()
    }

    /// Everything that is offered of a project.
    ///
    /// An index that doesn't know the project (404) gives way to the next; any other failure ends the search, because going
    /// on could take the project from the wrong place.
    pub fn project(&self, name: &str) -> Result<ProjectFiles, IndexError> {
        self.search(name, |_| true)
    }

    /// What is offered of one version of a project, wheels and source distributions.
    pub fn version(&self, name: &str, version: &str) -> Result<ProjectFiles, IndexError> {
        self.version_at(name, version, None)
    }

    /// The same from one index alone, where its address is given: what a lock names comes from there.
    ///
    /// PyPI's own address stands for the index that is set in its place.
    pub fn version_at(
        &self,
        name: &str,
        version: &str,
        index: Option<&str>,
    ) -> Result<ProjectFiles, IndexError> {
        let name = normalise(name);
        let is_wanted = |file: &IndexFile| {
            belongs(&file.filename, &name).is_some_and(|told| same_version(&told.version, version))
        };
        let mut found = match index {
            Some(index) => self.project_at(&name, index)?,
            None => self.search(&name, is_wanted)?,
        };
        let mut others: Vec<String> = Vec::new();
        found.files.retain(|file| {
            let wanted = is_wanted(file);
            if !wanted {
                others.extend(belongs(&file.filename, &name).map(|told| told.version));
            }
            wanted
        });
        if found.files.is_empty() {
            others.dedup();
            return Err(IndexError::NoVersion {
                name,
                version: version.to_owned(),
                index: found.index,
                last: others.pop(),
            });
        }
        if let Some(cutoff) = self.settings.cutoff(&name) {
            let time = found.files.iter().find_map(|file| file.upload_time.clone());
            found
                .files
                .retain(|file| !file.url.contains("://") || cutoff.allows(file.upload_time.as_deref()));
            if found.files.is_empty() {
                return Err(IndexError::TooNew {
                    name,
                    version: version.to_owned(),
                    cutoff: cutoff.to_string(),
                    uploaded: time,
                });
            }
        }
        if let Some(reason) = found
            .files
            .iter()
            .map(|file| file.yanked.as_deref())
            .min()
            .flatten()
        {
            let why = match reason.trim() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let note = format!("{name} {version} was taken back from the index (yanked){why}");
            self.notes
                .lock()
                .expect("no thread panics while it holds the notes")
                .insert(note);
        }
        Ok(found)
    }

    /// The metadata of a file, which an index may offer beside it (PEP 658), checked where the index tells its hash.
    ///
    /// None where it doesn't.
    pub fn metadata(&self, file: &IndexFile) -> Result<Option<Vec<u8>>, IndexError> {
        let Some(offered) = &file.metadata else {
            return Ok(None);
        };
        // The name goes behind the path, before a query.
        let (path, query) = file.url.split_at(file.url.find('?').unwrap_or(file.url.len()));
        let url = format!("{path}.metadata{query}");
        let page = self
            .fetcher_for(&url)
            .get(&self.settings.with_login(&url), None)
            .map_err(|source| self.failed(&url, source))?;
        let found = Digest::of(&page.body);
        match &offered.sha256 {
            Some(expected) if *expected != found => {
                let (expected, url) = (expected.clone(), coil_fetch::redact_url(&url));
                let source = FetchError::HashMismatch { url, expected, found };
                Err(self.failed(&file.url, source))
            }
            _ => Ok(Some(page.body)),
        }
    }

    /// The client for an address: one without logins where its index is to have none.
    pub(crate) fn fetcher_for(&self, url: &str) -> Fetcher {
        let never = |index: &Index| index.authenticate == Authenticate::Never;
        match self.settings.index_of(url).is_some_and(never) {
            true => self.fetcher.anonymous(),
            false => self.fetcher.clone(),
        }
    }

    /// Goes through find-links places and indices; where several indices count, up to the first that `fits`.
    fn search(&self, name: &str, fits: impl Fn(&IndexFile) -> bool) -> Result<ProjectFiles, IndexError> {
        let name = normalise(name);
        let mut found = ProjectFiles::default();
        for place in &self.settings.find_links() {
            found.files.extend(of_project(self.place(place)?, &name));
        }
        let mut seen: Vec<IndexFile> = Vec::new();
        for index in self.settings.searched() {
            let Some(files) = self.index_files(&index, &name)? else {
                continue;
            };
            let files = of_project(files, &name);
            let enough = match self.settings.strategy() {
                IndexStrategy::FirstIndex => true,
                IndexStrategy::UnsafeFirstMatch => files.iter().any(&fits),
                IndexStrategy::UnsafeBestMatch => false,
            };
            if enough || seen.is_empty() {
                found.index = Some(format!("{}/", without_login(&index.url).trim_end_matches('/')));
            }
            seen.extend(files);
            if enough {
                break;
            }
        }
        found.files.append(&mut seen);
        if found.index.is_some() || !found.files.is_empty() {
            return Ok(found);
        }
        Err(IndexError::NoProject {
            near: self.near(&name),
            name,
            indices: self
                .settings
                .indices()
                .iter()
                .map(|url| without_login(url))
                .collect(),
            find_links: self
                .settings
                .find_links()
                .iter()
                .map(|place| without_login(place))
                .collect(),
        })
    }

    /// What one index has of a project.
    fn project_at(&self, name: &str, url: &str) -> Result<ProjectFiles, IndexError> {
        let known = self.settings.all().iter().find(|index| index.is_at(url)).cloned();
        let index = known.unwrap_or_else(|| match Index::at(DEFAULT_INDEX, "").is_at(url) {
            true => self.settings.main(),
            false => Index::at(url, "the lock"),
        });
        if self.settings.no_index() && !index.flat {
            return self.search(name, |_| true);
        }
        let files = match index.flat {
            true => Some(self.place(&index.url)?),
            false => self.index_files(&index, name)?,
        };
        let bare = without_login(&index.url);
        match files.map(|files| of_project(files, name)) {
            Some(files) if !files.is_empty() || !index.flat => Ok(ProjectFiles {
                index: Some(format!("{}/", bare.trim_end_matches('/'))),
                files,
            }),
            _ => Err(IndexError::NotThere {
                name: name.to_owned(),
                index: bare,
            }),
        }
    }

    /// The files of a project's page on an index; none when the index doesn't know it.
    fn index_files(&self, index: &Index, name: &str) -> Result<Option<Vec<IndexFile>>, IndexError> {
        let url = format!("{}/{name}/", index.url.trim_end_matches('/'));
        if index.authenticate == Authenticate::Always {
            let with = self.settings.with_login(&url);
            if self.fetcher.login_source(&with).is_none() {
                return Err(IndexError::NoLogin {
                    index: without_login(&index.url),
                    variable: index.password_variable(),
                });
            }
        }
        match self.page(&url) {
            Err(IndexError::Fetch { source, .. }) if index.ignores(&source) => Ok(None),
            answer => answer,
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
        let files = match local::path_of(url) {
            Some(folder) => local::index_page(&folder)?,
            None => self.fetch_page(url)?,
        };
        pages().insert(url.to_owned(), files.clone());
        Ok(files)
    }

    /// Fetches a page, or takes the kept one where it is still good or there is no network.
    fn fetch_page(&self, url: &str) -> Result<Option<Vec<IndexFile>>, IndexError> {
        let bare = without_login(url);
        let path = self.store.download_path(
            "indices",
            &format!("page-v2-{}.json", Digest::of(bare.as_bytes()).hex()),
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
        let fetched = match self.fetcher_for(url).get_if_changed(
            &self.settings.with_login(url),
            Some(ACCEPT),
            etag,
            last_modified,
        ) {
            Ok(fetched) => fetched,
            Err(FetchError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.failed(url, source)),
        };
        let Some(page) = fetched else {
            return Ok(kept.map(|kept| kept.files));
        };
        let files =
            page::parse(&page.url, &page.content_type, &page.body).map_err(|what| IndexError::Page {
                url: coil_fetch::redact_url(&page.url),
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
        match local::path_of(place) {
            Some(path) => local::place(&path),
            None => Ok(self.page(place)?.unwrap_or_default()),
        }
    }

    /// Names of projects in find-links places that are nearly this one.
    fn near(&self, name: &str) -> Option<String> {
        let places = self.settings.find_links();
        let files = places.iter().filter_map(|place| self.place(place).ok()).flatten();
        let names: BTreeSet<String> = files
            .filter_map(|file| DistributionName::wheel(&file.filename))
            .map(|told| told.name)
            .collect();
        coil_python::diagnostic::near_miss(name, names.iter().map(String::as_str)).map(str::to_owned)
    }
}

/// The files that are a project's.
fn of_project(files: Vec<IndexFile>, name: &str) -> Vec<IndexFile> {
    let mut files = files;
    files.retain(|file| belongs(&file.filename, name).is_some());
    files
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

/// What a file name tells, when it is a distribution of the project.
fn belongs(filename: &str, project: &str) -> Option<DistributionName> {
    let told = DistributionName::wheel(filename).or_else(|| DistributionName::source(filename, project))?;
    (told.name == project).then_some(told)
}
