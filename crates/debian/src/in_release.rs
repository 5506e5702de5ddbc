//! A suite's signed table of contents: fetched, kept, and checked before anything in it is believed.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use coil_fetch::{FetchError, Progress, redact_url};
use coil_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::Archive;
use crate::error::ResolveError;
use crate::release::{Release, compact_date};
use crate::signature::Keyring;
use crate::sources::{DEBIAN_KEYRINGS, Mirror, Trust};

#[derive(Serialize, Deserialize, Default)]
struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// One signed table of contents, checked.
pub(crate) struct Signed {
    /// What it says.
    pub(crate) release: Release,
    /// The digest of the file.
    pub(crate) digest: Digest,
}

impl Archive {
    /// Fetches and verifies an InRelease file; `None` where the suite doesn't exist.
    pub(crate) fn release(
        &self,
        mirror: &Mirror,
        suite: &str,
        progress: &dyn Progress,
    ) -> Result<Option<Signed>, ResolveError> {
        let url = format!("{}/dists/{suite}/InRelease", mirror.uri);
        let shown = redact_url(&url);
        let key = Digest::of(shown.as_bytes());
        let dest = self
            .store
            .download_path("indices", &format!("{suite}-{}.InRelease", key.short()));
        let notes = dest.with_extension("validators");
        let absent = dest.with_extension("absent");
        let kept = std::fs::read(&dest).ok();
        let offline = self.fetcher.is_offline();
        let bytes = match kept {
            Some(bytes) if offline => bytes,
            None if offline && absent.exists() => return Ok(None),
            kept => {
                let known: Validators = kept
                    .as_ref()
                    .and_then(|_| serde_json::from_slice(&std::fs::read(&notes).ok()?).ok())
                    .unwrap_or_default();
                let answer = self.fetcher.get_if_changed(
                    &url,
                    None,
                    known.etag.as_deref(),
                    known.last_modified.as_deref(),
                );
                match (answer, kept) {
                    (Ok(None), Some(bytes)) => bytes,
                    (Ok(Some(page)), _) => {
                        let validators = Validators {
                            etag: page.etag,
                            last_modified: page.last_modified,
                        };
                        let text = serde_json::to_vec(&validators).unwrap_or_default();
                        // The body goes first: notes of a body that isn't there are not looked at.
                        replace(&dest, &page.body)?;
                        replace(&notes, &text)?;
                        let _ = std::fs::remove_file(&absent);
                        page.body
                    }
                    (Err(FetchError::NotFound { .. }) | Ok(None), _) => {
                        // Without the network nothing else can tell that there is nothing to be had.
                        replace(&absent, b"")?;
                        return Ok(None);
                    }
                    (Err(source), _) => {
                        return Err(ResolveError::Fetch {
                            what: format!("the index of Debian {suite}"),
                            source,
                        });
                    }
                }
            }
        };
        let now = self.now.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs())
        });
        let text = String::from_utf8_lossy(&bytes);
        let checked = self.keyring(&mirror.trust)?.verify(&text, now);
        let signed_text = match checked {
            Ok(text) => text,
            Err(source) => {
                // What is not trusted is not kept either, or it would be found unchanged for ever.
                let _ = std::fs::remove_file(&dest);
                return Err(ResolveError::Signature { url: shown, source });
            }
        };
        let malformed = || ResolveError::Malformed {
            url: shown.clone(),
            reason: "a field is missing".into(),
        };
        let release = Release::parse(&signed_text).ok_or_else(malformed)?;
        if release.codename != suite {
            let reason = format!("it is the index of {}, not of {suite}", release.codename);
            return Err(ResolveError::Malformed { url: shown, reason });
        }
        if let Some(until) = release.valid_until
            && until < now
            && mirror.check_valid_until
            && !offline
        {
            let valid_until = compact_date(until);
            if !self.allow_expired {
                return Err(ResolveError::Expired {
                    url: shown,
                    valid_until,
                });
            }
            progress.note(&format!(
                "{shown} was valid until {valid_until} only, and is taken all the same"
            ));
        }
        Ok(Some(Signed {
            release,
            digest: Digest::of(&bytes),
        }))
    }

    fn keyring(&self, trust: &Trust) -> Result<Keyring, ResolveError> {
        match trust {
            Trust::Debian => {
                let mut keyring = Keyring::debian();
                let host = DEBIAN_KEYRINGS
                    .iter()
                    .filter_map(|path| Keyring::parse(&std::fs::read(path).ok()?));
                host.for_each(|found| keyring.join(found));
                Ok(keyring)
            }
            Trust::Inline(text) => {
                let name = || "in the apt configuration (Signed-By)".to_string();
                Keyring::parse(text.as_bytes()).ok_or_else(|| ResolveError::Keyring { name: name() })
            }
            Trust::Files(paths) => {
                let mut all: Option<Keyring> = None;
                for path in paths {
                    let found = std::fs::read(path).ok().and_then(|bytes| Keyring::parse(&bytes));
                    let failed = || ResolveError::Keyring {
                        name: path.display().to_string(),
                    };
                    let found = found.ok_or_else(failed)?;
                    match &mut all {
                        Some(all) => all.join(found),
                        None => all = Some(found),
                    }
                }
                all.ok_or_else(|| ResolveError::Keyring {
                    name: "(none named)".into(),
                })
            }
        }
    }
}

/// Writes a file that takes its name when it is whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ResolveError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| ResolveError::Disk {
        path: path.to_path_buf(),
        source,
    })
}
