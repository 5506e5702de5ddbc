//! Wheels brought into the store's downloads, checked by hash, several at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coil_fetch::{Download, FetchError, Fetcher, Progress};
use coil_oci::{Digest, Hasher};
use coil_store::Store;
use serde::{Deserialize, Serialize};

use crate::filename::DistributionName;
use crate::index::{AccessHelp, FileHash, IndexClient, IndexError, IndexFile, without_login};
use crate::layer::parallel;

/// The folder of downloads, and of records about addresses whose hash only a download told.
const KIND: &str = "wheels";
const ADDRESSES: &str = "wheel-address-v1";

/// A wheel that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WheelRequest {
    /// The project's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The wheel's file name.
    pub filename: String,
    /// Its address, or the path of a local file; looked up on the indices where none is given.
    pub url: Option<String>,
    /// Its digest, where the lock tells.
    pub sha256: Option<Digest>,
    /// Its size in bytes, where the lock tells.
    pub size: Option<u64>,
    /// Its hashes by other algorithms, the strongest first; the first is checked where there is no digest.
    pub hashes: Vec<FileHash>,
    /// The index that it must come from, where the lock tells; no other is asked.
    pub index: Option<String>,
}

/// A wheel on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedWheel {
    /// Where it is.
    pub path: PathBuf,
    /// Its file name.
    pub filename: String,
    /// Its digest; where the request had none, this is what a lock should record.
    pub sha256: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Where it came from, without a login.
    pub url: Option<String>,
}

/// How wheels are downloaded.
#[derive(Debug, Clone, Copy)]
pub struct DownloadOptions {
    /// How many at a time.
    pub threads: usize,
    /// Whether wheels that were downloaded before are hashed again.
    pub verify: bool,
}

/// What is known of an address whose hash no lock told.
#[derive(Serialize, Deserialize)]
struct KnownAddress {
    sha256: Digest,
    size: u64,
}

/// Why wheels could not be had.
#[derive(Debug)]
pub enum DownloadError {
    /// There is no network, and these wheels are not in the store.
    Offline {
        /// Their file names.
        missing: Vec<String>,
    },
    /// One could not be downloaded.
    Fetch {
        /// The wheel's file name.
        wheel: String,
        /// Why.
        source: FetchError,
        /// What can be done about it.
        help: AccessHelp,
    },
    /// A file has another hash than the index or the lock tells.
    OtherHash {
        /// The wheel's file name.
        wheel: String,
        /// The hash that it should have.
        expected: FileHash,
        /// The hash that it has.
        found: FileHash,
    },
    /// Its address could not be found.
    Index {
        /// The wheel's file name.
        wheel: String,
        /// Why.
        source: Box<IndexError>,
    },
    /// The index no longer has the file.
    Gone {
        /// The wheel's file name.
        wheel: String,
        /// The files of this version that it has.
        offered: Vec<String>,
    },
    /// A file name that is not a wheel's.
    Name {
        /// The name.
        wheel: String,
    },
    /// A local file has another digest than the lock tells.
    Hash {
        /// The file.
        path: PathBuf,
        /// The lock's digest.
        expected: Digest,
        /// The file's digest.
        found: Digest,
    },
    /// A file could not be read or written.
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DownloadError {
    /// What can be done about it, in one sentence; empty where there is nothing to say.
    pub fn help(&self) -> String {
        match self {
            DownloadError::Offline { .. } => "run once without --offline to download them".to_owned(),
            DownloadError::Fetch { help, .. } => help.0.clone(),
            DownloadError::Index { source, .. } => source.help(),
            DownloadError::Gone { .. } | DownloadError::Name { .. } => "lock again".to_owned(),
            DownloadError::Hash { .. } | DownloadError::OtherHash { .. } => {
                "the file is not the one that was locked: restore it, or lock again if the change was meant"
                    .to_owned()
            }
            DownloadError::Disk { .. } => String::new(),
        }
    }
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownloadError::Offline { missing } => {
                write!(f, "offline, and not downloaded before: {}", missing.join(", "))
            }
            DownloadError::Fetch { wheel, .. } => write!(f, "{wheel} cannot be downloaded"),
            DownloadError::Index { wheel, .. } => write!(f, "{wheel} cannot be found"),
            DownloadError::Gone { wheel, offered } => match offered.is_empty() {
                true => write!(f, "{wheel} is not on the index"),
                false => write!(f, "{wheel} is not on the index; it has {}", offered.join(", ")),
            },
            DownloadError::Name { wheel } => write!(f, "{wheel:?} is not the name of a wheel"),
            DownloadError::Hash {
                path,
                expected,
                found,
            } => {
                write!(f, "{} has the digest {found}, not {expected}", path.display())
            }
            DownloadError::OtherHash {
                wheel,
                expected,
                found,
            } => write!(f, "{wheel} has the hash {found}, not {expected}"),
            DownloadError::Disk { path, .. } => write!(f, "{} cannot be read or written", path.display()),
        }
    }
}

impl std::error::Error for DownloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DownloadError::Fetch { source, .. } => Some(source),
            DownloadError::Index { source, .. } => Some(source.as_ref()),
            DownloadError::Disk { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Brings every wheel onto the disk; the answers are in the order of the requests.
///
/// What was downloaded before is taken by its name and size, or hashed again where [`DownloadOptions::verify`] asks for it.
/// Every fresh download is checked by hash. With no network, the error names all that is missing at once.
pub fn download(
    store: &Store,
    fetcher: &Fetcher,
    index: &IndexClient<'_>,
    requests: &[WheelRequest],
    options: DownloadOptions,
    progress: &dyn Progress,
) -> Result<Vec<FetchedWheel>, DownloadError> {
    let mut found = Vec::with_capacity(requests.len());
    for request in requests {
        // The name becomes a part of a path.
        if DistributionName::wheel(&request.filename).is_none() {
            return Err(DownloadError::Name {
                wheel: request.filename.clone(),
            });
        }
        found.push(present(store, request, options.verify)?);
    }
    let missing: Vec<usize> = (0..requests.len())
        .filter(|number| found[*number].is_none())
        .collect();
    if fetcher.is_offline() && !missing.is_empty() {
        let missing = missing
            .into_iter()
            .map(|number| requests[number].filename.clone())
            .collect();
        return Err(DownloadError::Offline { missing });
    }
    let fetched = parallel(
        options.threads,
        missing.len(),
        || (),
        |(), job| fetch(store, index, &requests[missing[job]], progress),
    )?;
    for (number, wheel) in missing.into_iter().zip(fetched) {
        found[number] = Some(wheel);
    }
    Ok(found.into_iter().flatten().collect())
}

fn place(store: &Store, sha256: &Digest, filename: &str) -> PathBuf {
    store.download_path(KIND, &format!("{}/{filename}", sha256.hex()))
}

/// The path of a request for a local file.
fn local_path(url: &str) -> Option<PathBuf> {
    match url.strip_prefix("file://") {
        Some(path) => Some(PathBuf::from(coil_fetch::percent_decode(path))),
        None => url.starts_with('/').then(|| PathBuf::from(url)),
    }
}

fn address_key(url: &str) -> String {
    Digest::of(without_login(url).as_bytes()).hex().to_owned()
}

/// A wheel that is there already.
fn present(
    store: &Store,
    request: &WheelRequest,
    verify: bool,
) -> Result<Option<FetchedWheel>, DownloadError> {
    // Without a digest of the lock's, its other hash is what holds the file to the lock.
    let hashes = match request.sha256 {
        Some(_) => &[][..],
        None => &request.hashes,
    };
    if let Some(path) = request.url.as_deref().and_then(local_path) {
        check(&path, &request.filename, hashes)?;
        return local(&path, request).map(Some);
    }
    let known = match (&request.sha256, &request.url) {
        (Some(sha256), _) => Some((sha256.clone(), request.size)),
        (None, Some(url)) => store
            .cache_get(ADDRESSES, &address_key(url))
            .and_then(|bytes| serde_json::from_slice::<KnownAddress>(&bytes).ok())
            .map(|known| (known.sha256, Some(known.size))),
        (None, None) => None,
    };
    let Some((sha256, size)) = known else {
        return Ok(None);
    };
    let path = place(store, &sha256, &request.filename);
    let Ok(length) = path.metadata().map(|metadata| metadata.len()) else {
        return Ok(None);
    };
    if size.is_some_and(|size| size != length) || length == 0 {
        return Ok(None);
    }
    if verify && hash(&path)?.0 != sha256 {
        return Ok(None);
    }
    if check(&path, &request.filename, hashes).is_err() {
        return Ok(None);
    }
    let url = request.url.as_deref().map(without_login);
    Ok(Some(FetchedWheel {
        path,
        filename: request.filename.clone(),
        sha256,
        size: length,
        url,
    }))
}

/// A local file, hashed where it lies.
fn local(path: &Path, request: &WheelRequest) -> Result<FetchedWheel, DownloadError> {
    let (found, size) = hash(path)?;
    if let Some(expected) = request.sha256.as_ref().filter(|expected| **expected != found) {
        return Err(DownloadError::Hash {
            path: path.to_owned(),
            expected: expected.clone(),
            found,
        });
    }
    Ok(FetchedWheel {
        path: path.to_owned(),
        filename: request.filename.clone(),
        sha256: found,
        size,
        url: None,
    })
}

fn hash(path: &Path) -> Result<(Digest, u64), DownloadError> {
    let fail = |source| DownloadError::Disk {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(fail)?;
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; 128 * 1024]);
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Checks a file by another hash than its digest, where there is one.
fn check(path: &Path, wheel: &str, hashes: &[FileHash]) -> Result<(), DownloadError> {
    let Some(expected) = hashes.first() else {
        return Ok(());
    };
    let found = File::open(path)
        .and_then(|file| expected.of_same_kind(file))
        .map_err(|source| DownloadError::Disk {
            path: path.to_owned(),
            source,
        })?;
    match found == *expected {
        true => Ok(()),
        false => Err(DownloadError::OtherHash {
            wheel: wheel.to_owned(),
            expected: expected.clone(),
            found,
        }),
    }
}

/// Where a wheel is, and by what it is known.
struct Offer {
    url: String,
    sha256: Option<Digest>,
    size: Option<u64>,
    /// By what it is checked where there is no digest.
    hashes: Vec<FileHash>,
}

fn fetch(
    store: &Store,
    index: &IndexClient<'_>,
    request: &WheelRequest,
    progress: &dyn Progress,
) -> Result<FetchedWheel, DownloadError> {
    let offer = match &request.url {
        Some(url) => Offer {
            url: url.clone(),
            sha256: request.sha256.clone(),
            size: request.size,
            hashes: request.hashes.clone(),
        },
        None => {
            let file = look_up(index, request)?;
            // What a lock tells counts; an index may have changed since.
            let told = request.hashes.is_empty().then_some(file.hashes);
            Offer {
                url: file.url,
                sha256: request.sha256.clone().or(file.sha256),
                size: request.size.or(file.size),
                hashes: told.unwrap_or_else(|| request.hashes.clone()),
            }
        }
    };
    let mut hashes = offer.hashes.as_slice();
    if request.sha256.is_some() || (offer.sha256.is_some() && request.hashes.is_empty()) {
        hashes = &[];
    }
    let url = offer.url;
    if let Some(path) = local_path(&url) {
        let found = local(&path, request)?;
        check(&path, &request.filename, hashes)?;
        return Ok(found);
    }
    let key = address_key(&url);
    let dest = match &offer.sha256 {
        Some(sha256) => place(store, sha256, &request.filename),
        None => store.download_path(KIND, &format!("unknown-{key}/{}", request.filename)),
    };
    let with_login = index.settings().with_login(&url);
    let download = Download {
        url: with_login,
        dest: dest.clone(),
        id: request.filename.clone(),
        size: offer.size,
        sha256: offer.sha256.clone(),
    };
    let fail = |source| DownloadError::Fetch {
        wheel: request.filename.clone(),
        help: index.help(&url, &source),
        source,
    };
    let downloaded = index
        .fetcher_for(&url)
        .download(&download, progress)
        .map_err(fail)?;
    check(&dest, &request.filename, hashes).inspect_err(|_| {
        let _ = std::fs::remove_file(&dest);
    })?;
    let path = place(store, &downloaded.sha256, &request.filename);
    if offer.sha256.is_none() {
        std::fs::rename(&dest, &path).map_err(|source| DownloadError::Disk {
            path: path.clone(),
            source,
        })?;
        if let Some(folder) = dest.parent() {
            // It is empty now; should another process be using it, it stays.
            let _ = std::fs::remove_dir(folder);
        }
    }
    let known = KnownAddress {
        sha256: downloaded.sha256.clone(),
        size: downloaded.size,
    };
    if let Ok(record) = serde_json::to_vec(&known) {
        // Without the record the wheel is only downloaded again.
        let _ = store.cache_put(ADDRESSES, &key, &record);
    }
    Ok(FetchedWheel {
        path,
        filename: request.filename.clone(),
        sha256: downloaded.sha256,
        size: downloaded.size,
        url: Some(without_login(&url)),
    })
}

/// The address of a wheel that the lock gives no address for.
fn look_up(index: &IndexClient<'_>, request: &WheelRequest) -> Result<IndexFile, DownloadError> {
    let offered = index
        .version_at(&request.name, &request.version, request.index.as_deref())
        .map_err(|source| DownloadError::Index {
            wheel: request.filename.clone(),
            source: Box::new(source),
        })?;
    match offered
        .files
        .iter()
        .find(|file| file.filename == request.filename)
    {
        Some(file) => Ok(file.clone()),
        None => Err(DownloadError::Gone {
            wheel: request.filename.clone(),
            offered: offered.files.into_iter().map(|file| file.filename).collect(),
        }),
    }
}
