//! Downloads into files: checked, resumed, never half there under their own name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use coil_oci::{Digest, Hasher};

use crate::Fetcher;
use crate::address::redact_url;
use crate::client::{body_error, content_range_start};
use crate::error::FetchError;
use crate::progress::Progress;

/// What to download, and where to.
#[derive(Debug, Clone)]
pub struct Download {
    /// The address; a login in it is not shown anywhere.
    pub url: String,
    /// The file to make; replaced when it exists. Its folder must exist.
    pub dest: PathBuf,
    /// The name under which progress is told.
    pub id: String,
    /// The size that it must have, in bytes, where that is known.
    pub size: Option<u64>,
    /// The digest that it must have, where that is known.
    pub sha256: Option<Digest>,
}

/// What was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The content's digest.
    pub sha256: Digest,
    /// The size in bytes.
    pub size: u64,
}

/// The file while it is incomplete, with the digest of what is in it.
struct Part {
    path: PathBuf,
    file: File,
    hasher: Hasher,
    size: u64,
    /// It may serve a later run, so it is kept when this one fails.
    keep: bool,
    done: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !(self.done || self.keep && self.size > 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Fetcher {
    /// Downloads into `dest`, checked against the size and the digest.
    ///
    /// The bytes go to a file beside it first, which takes the name when it is right. When the connection breaks, the rest
    /// is asked for from where it stopped; with a digest given, also what an earlier run left is used.
    pub fn download(&self, request: &Download, progress: &dyn Progress) -> Result<Downloaded, FetchError> {
        progress.begin(&request.id, request.size);
        let result = self.download_inner(request, progress);
        progress.end(&request.id);
        result
    }

    fn download_inner(&self, request: &Download, progress: &dyn Progress) -> Result<Downloaded, FetchError> {
        let disk = |path: &Path| {
            let path = path.to_path_buf();
            move |source| FetchError::Disk { path, source }
        };
        let mut part = Part::open(request).map_err(disk(&request.dest))?;
        let inherited = part.size > 0;
        if inherited {
            progress.advance(&request.id, part.size);
        }
        self.fill(request, &mut part, progress)?;
        let mut verdict = part.check(request);
        if verdict.is_err() && inherited {
            // What an earlier run left may have been of another content: begin anew, once.
            part.clear().map_err(disk(&part.path))?;
            self.fill(request, &mut part, progress)?;
            verdict = part.check(request);
        }
        if verdict.is_err() {
            part.keep = false;
            part.size = 0;
        }
        let sha256 = verdict?;
        std::fs::rename(&part.path, &request.dest).map_err(disk(&request.dest))?;
        part.done = true;
        Ok(Downloaded {
            sha256,
            size: part.size,
        })
    }

    /// Brings the part to its full length.
    fn fill(&self, request: &Download, part: &mut Part, progress: &dyn Progress) -> Result<(), FetchError> {
        let mut validator: Option<String> = None;
        if part.size > 0 && request.size == Some(part.size) {
            return Ok(());
        }
        self.with_retries(|| self.fill_once(request, part, &mut validator, progress))
    }

    fn fill_once(
        &self,
        request: &Download,
        part: &mut Part,
        validator: &mut Option<String>,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let path = part.path.clone();
        let disk = |source| FetchError::Disk {
            path: path.clone(),
            source,
        };
        // Without a digest and without a validator nothing shows that the rest belongs to the beginning.
        if part.size > 0 && request.sha256.is_none() && validator.is_none() {
            part.clear().map_err(disk)?;
        }
        let range = format!("bytes={}-", part.size);
        let mut headers = vec![("accept-encoding", "identity")];
        if part.size > 0 {
            headers.push(("range", &range));
            if let Some(validator) = validator.as_deref() {
                headers.push(("if-range", validator));
            }
        }
        let sent = self.send(&request.url, &headers);
        let response = match sent {
            // "Range not satisfiable": what is here is as long as the file, or longer.
            Err(FetchError::Status { status: 416, .. }) if part.size > 0 => {
                part.clear().map_err(disk)?;
                self.send(&request.url, &[("accept-encoding", "identity")])?.0
            }
            sent => sent?.0,
        };
        let resumed = response.status() == 206 && content_range_start(&response) == Some(part.size);
        if !resumed {
            if response.status() == 206 && part.size > 0 {
                part.clear().map_err(disk)?;
                let url = redact_url(&request.url);
                return Err(FetchError::Truncated {
                    url,
                    got: 0,
                    expected: request.size,
                });
            }
            part.clear().map_err(disk)?;
        }
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        // Only a strong validator promises equal bytes (RFC 9110 section 13.1.5).
        let strong = header("etag")
            .filter(|etag| etag.starts_with('"'))
            .or_else(|| header("last-modified"));
        *validator = strong.map(str::to_string);

        let mut body = response.into_body();
        let total = body.content_length().map(|rest| rest + part.size);
        let limit = request.size.or(total);
        let mut reader = body.as_reader();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(body_error(&request.url, &error, part.size, limit)),
            };
            part.file.write_all(&buffer[..count]).map_err(disk)?;
            part.hasher.update(&buffer[..count]);
            part.size += count as u64;
            progress.advance(&request.id, count as u64);
            if let Some(expected) = request.size.filter(|expected| part.size > *expected) {
                let (found, url) = (total.unwrap_or(part.size), redact_url(&request.url));
                part.keep = false;
                return Err(FetchError::SizeMismatch { url, expected, found });
            }
        }
        match total {
            Some(total) if part.size < total => {
                let url = redact_url(&request.url);
                Err(FetchError::Truncated {
                    url,
                    got: part.size,
                    expected: Some(total),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Part {
    fn open(request: &Download) -> io::Result<Part> {
        if let Some(digest) = &request.sha256 {
            let path = beside(&request.dest, &format!("part-{}", digest.short()));
            if let Some(part) = Part::adopt(path)? {
                return Ok(part);
            }
        }
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = beside(&request.dest, &format!("part-{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        Ok(Part {
            path,
            file,
            hasher: Hasher::new(),
            size: 0,
            keep: false,
            done: false,
        })
    }

    /// Takes over what an earlier run left; `None` when another process is at it now.
    fn adopt(path: PathBuf) -> io::Result<Option<Part>> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The other process may have renamed the file between opening and locking.
        let same =
            std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|own| own.ino() == now.ino()));
        if !same {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        let size = io::copy(&mut file, &mut hasher)?;
        Ok(Some(Part {
            path,
            file,
            hasher,
            size,
            keep: true,
            done: false,
        }))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Hasher::new();
        self.size = 0;
        Ok(())
    }

    fn check(&self, request: &Download) -> Result<Digest, FetchError> {
        if let Some(expected) = request.size.filter(|expected| *expected != self.size) {
            let url = redact_url(&request.url);
            return Err(FetchError::SizeMismatch {
                url,
                expected,
                found: self.size,
            });
        }
        let found = self.hasher.clone().finish();
        match &request.sha256 {
            Some(expected) if *expected != found => {
                let url = redact_url(&request.url);
                Err(FetchError::HashMismatch {
                    url,
                    expected: expected.clone(),
                    found,
                })
            }
            _ => Ok(found),
        }
    }
}

fn beside(dest: &Path, suffix: &str) -> PathBuf {
    let mut name = dest.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    dest.with_file_name(name)
}
