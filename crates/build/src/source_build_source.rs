//! The sources that wheels are built from: archives, repositories, folders; each with a digest that says what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coil_fetch::{Download, redact_url};
use coil_oci::{Digest, Hasher};
use coil_python::{Artifact, Direct, Pinned};

use crate::app_tree::{AppTree, Selection, scan};
use crate::error::PackError;
use crate::hash_pins;
use crate::request::Packer;
use crate::source_build::UNNAMED;
use crate::source_build_failure::{Reason, SourceBuildFailure};

/// A source on the disk.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// What it is, whole: the same digest builds the same wheel.
    pub(crate) digest: Digest,
    /// Where it is.
    pub(crate) place: Place,
    /// The project's folder inside.
    pub(crate) subdirectory: String,
    /// Whether its version comes from its Git history.
    pub(crate) has_git: bool,
}

/// Where a source is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// One file.
    Archive(PathBuf),
    /// A folder, without some paths below it.
    Tree(PathBuf, Vec<String>),
}

/// Leaves out what no build reads and every run changes.
struct Sources {
    with_git: bool,
    left_out: std::cell::RefCell<BTreeSet<String>>,
}

impl Sources {
    fn wanted(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let made = matches!(
            name,
            "__pycache__"
                | ".venv"
                | ".tox"
                | ".nox"
                | ".mypy_cache"
                | ".pytest_cache"
                | ".ruff_cache"
                | "node_modules"
        );
        let of_git = name == ".git" && !self.with_git;
        let built =
            path == "build" || path == "dist" || name.ends_with(".egg-info") || name.ends_with(".pyc");
        let wanted = !(made || of_git || built);
        if !wanted {
            self.left_out.borrow_mut().insert(path.to_owned());
        }
        wanted
    }
}

impl Selection for Sources {
    fn skips_folder(&self, path: &str) -> bool {
        !self.wanted(path)
    }

    fn ships(&self, path: &str) -> bool {
        self.wanted(path)
    }
}

impl Packer<'_> {
    /// Brings a package's source onto the disk.
    pub(crate) fn source(
        &self,
        package: &Pinned,
        artifact: Option<&Artifact>,
        lock_dir: &Path,
    ) -> Result<Source, PackError> {
        if let Some(artifact) = artifact {
            let subdirectory = match &package.direct {
                Some(Direct::Url { subdirectory, .. }) => subdirectory.clone(),
                _ => None,
            };
            return self.archive(package, artifact, lock_dir, subdirectory.unwrap_or_default());
        }
        match &package.direct {
            Some(Direct::Url { url, subdirectory }) => {
                let artifact = Artifact {
                    url: Some(url.clone()),
                    ..Artifact::named(&file_name(url))
                };
                self.archive(
                    package,
                    &artifact,
                    lock_dir,
                    subdirectory.clone().unwrap_or_default(),
                )
            }
            Some(Direct::Path { path }) => {
                let artifact = Artifact {
                    path: Some(path.clone()),
                    ..Artifact::named(&file_name(path))
                };
                self.archive(package, &artifact, lock_dir, String::new())
            }
            Some(Direct::Git {
                url,
                commit,
                subdirectory,
                ..
            }) => self.repository(package, url, commit, subdirectory.clone().unwrap_or_default()),
            Some(Direct::Directory { path, .. }) => self.folder(&lock_dir.join(path)),
            None => Err(failure(
                package,
                Reason::Source("the lock names no file of it".into()),
            )),
        }
    }

    fn archive(
        &self,
        package: &Pinned,
        artifact: &Artifact,
        lock_dir: &Path,
        subdirectory: String,
    ) -> Result<Source, PackError> {
        let (path, digest) = self.archive_file(package, artifact, lock_dir)?;
        hash_pins::check(package, &artifact.filename, &digest)?;
        Ok(Source {
            digest,
            place: Place::Archive(path),
            subdirectory,
            has_git: false,
        })
    }

    /// A file on the disk with its digest, checked where the lock has one.
    pub(crate) fn archive_file(
        &self,
        package: &Pinned,
        artifact: &Artifact,
        lock_dir: &Path,
    ) -> Result<(PathBuf, Digest), PackError> {
        let fetch = |what: String, help: String| failure(package, Reason::Fetch { what, help });
        let local = artifact.path.clone().map(|path| lock_dir.join(path)).or_else(|| {
            let url = artifact.url.as_deref()?;
            let path = url.strip_prefix("file://").unwrap_or(url);
            (!path.contains("://")).then(|| lock_dir.join(path))
        });
        if let Some(path) = local {
            if !path.exists() {
                let what = format!("there is no file or folder {}", path.display());
                return Err(fetch(what, "mend the path, or leave the requirement out".into()));
            }
            let digest = file_digest(&path).map_err(|source| PackError::Read {
                path: path.clone(),
                source,
            })?;
            if let Some(expected) = artifact.sha256.as_ref().filter(|expected| **expected != digest) {
                let what = format!(
                    "{} has the hash {digest}, and the lock says {expected}",
                    path.display()
                );
                let help = "restore the file, or lock again if the change was meant".into();
                return Err(fetch(what, help));
            }
            return Ok((path, digest));
        }
        let url = match &artifact.url {
            Some(url) => url.clone(),
            None => self.looked_up(package, artifact)?,
        };
        let folder = artifact
            .sha256
            .as_ref()
            .map_or_else(|| Digest::of(redact_url(&url).as_bytes()), Clone::clone);
        let path = self
            .store
            .download_path("sdists", &format!("{}/{}", folder.hex(), artifact.filename));
        if let (Some(expected), Ok(found)) = (&artifact.sha256, file_digest(&path))
            && *expected == found
        {
            return Ok((path, found));
        }
        let request = Download {
            url: self.index.with_login(&url),
            dest: path.clone(),
            id: artifact.filename.clone(),
            size: artifact.size,
            sha256: artifact.sha256.clone(),
        };
        let done = self
            .fetcher
            .download(&request, self.progress)
            .map_err(|error| fetch(error.to_string(), error.help().to_owned()))?;
        Ok((path, done.sha256))
    }

    /// The address of a file of which a lock has the name alone.
    fn looked_up(&self, package: &Pinned, artifact: &Artifact) -> Result<String, PackError> {
        let client = coil_wheel::index::IndexClient::new(self.store, self.fetcher, self.index);
        let found = client
            .project(package.name.as_ref())
            .map_err(|error| PackError::Index(Box::new(error)))?;
        let file = found
            .files
            .into_iter()
            .find(|file| file.filename == artifact.filename);
        file.map(|file| file.url).ok_or_else(|| {
            let what = format!("the index no longer has {}", artifact.filename);
            failure(
                package,
                Reason::Fetch {
                    what,
                    help: "lock again".into(),
                },
            )
        })
    }

    /// A folder of the user's: the digest is that of its files.
    pub(crate) fn folder(&self, dir: &Path) -> Result<Source, PackError> {
        let dir = fs::canonicalize(dir).map_err(|source| PackError::Folder {
            path: dir.to_owned(),
            source,
        })?;
        let has_git = dir.join(".git").is_dir() && asks_git(&dir);
        let (tree, left_out) = self.folder_tree(&dir, has_git)?;
        Ok(Source {
            digest: tree.digest,
            place: Place::Tree(dir, left_out),
            subdirectory: String::new(),
            has_git,
        })
    }

    fn folder_tree(&self, dir: &Path, with_git: bool) -> Result<(AppTree, Vec<String>), PackError> {
        let selection = Sources {
            with_git,
            left_out: BTreeSet::new().into(),
        };
        let tree =
            scan(self.store, dir, &selection).map_err(|(path, source)| PackError::Read { path, source })?;
        Ok((tree, selection.left_out.into_inner().into_iter().collect()))
    }

    /// A commit of a repository, in the store: fetched alone where the server lets us, else with all its history.
    fn repository(
        &self,
        package: &Pinned,
        url: &str,
        commit: &str,
        subdirectory: String,
    ) -> Result<Source, PackError> {
        let plain = coil_python::without_credentials(url);
        let digest = Digest::of(format!("git 1 {plain} {commit} {subdirectory}").as_bytes());
        let whole = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !whole {
            let reason = Reason::Fetch {
                what: format!("{plain} is pinned to `{commit}`, which is no whole commit"),
                help: "lock again, so that the commit is known".into(),
            };
            return Err(failure(package, reason));
        }
        let key = Digest::of(format!("{plain} {commit}").as_bytes());
        let tree = self.store.download_path("git", &format!("{}/tree", key.hex()));
        if !tree.join(".git").is_dir() {
            self.clone_commit(package, url, &plain, commit, &tree)?;
        }
        Ok(Source {
            digest,
            place: Place::Tree(tree, Vec::new()),
            subdirectory,
            has_git: true,
        })
    }

    fn clone_commit(
        &self,
        package: &Pinned,
        url: &str,
        plain: &str,
        commit: &str,
        tree: &Path,
    ) -> Result<(), PackError> {
        if self.fetcher.is_offline() && !url.starts_with("file:") {
            let reason = Reason::Fetch {
                what: format!("{plain} is not in the store, and the network is switched off"),
                help: "run once without --offline".into(),
            };
            return Err(failure(package, reason));
        }
        self.progress
            .note(&format!("fetching {plain} at {}", &commit[..12]));
        let temporary = self
            .store
            .temp_path()
            .map_err(PackError::disk("making a folder"))?;
        fs::create_dir_all(&temporary).map_err(PackError::disk("making a folder"))?;
        let result = (|| {
            let git = |arguments: &[&str]| self.git(package, plain, url, &temporary, arguments);
            git(&["init", "-q", "."])?;
            // Submodules may be named relative to it.
            git(&[
                "remote",
                "add",
                "origin",
                plain.strip_prefix("git+").unwrap_or(plain),
            ])?;
            let address = url.strip_prefix("git+").unwrap_or(url);
            // The commit alone, but with tags, for versions that come from them, where the server allows it.
            let shallow = git(&["fetch", "-q", "--depth=1", "--no-tags", address, commit]);
            if shallow.is_err() || self.wants_history(&temporary) {
                git(&[
                    "fetch",
                    "-q",
                    "--tags",
                    "--force",
                    address,
                    "+refs/heads/*:refs/remotes/origin/*",
                ])
                .or_else(|error| if shallow.is_ok() { Ok(()) } else { Err(error) })?;
                if temporary.join(".git/shallow").exists() {
                    git(&["fetch", "-q", "--unshallow", "--tags", address, commit])
                        .or_else(|error| if shallow.is_ok() { Ok(()) } else { Err(error) })?;
                }
            }
            git(&[
                "-c",
                "advice.detachedHead=false",
                "checkout",
                "-q",
                "--detach",
                commit,
            ])?;
            if temporary.join(".gitmodules").is_file() {
                git(&[
                    "submodule",
                    "--quiet",
                    "update",
                    "--init",
                    "--recursive",
                    "--depth=1",
                ])?;
            }
            // What was fetched from is named with its login, which has no place in what a build can read.
            let _ = fs::remove_file(temporary.join(".git/FETCH_HEAD"));
            let _ = fs::remove_dir_all(temporary.join(".git/logs"));
            if let Some(folder) = tree.parent() {
                fs::create_dir_all(folder).map_err(PackError::disk("making a folder"))?;
            }
            match fs::rename(&temporary, tree) {
                // Somebody else was first; theirs is as good.
                Err(_) if tree.join(".git").is_dir() => Ok(()),
                other => other.map_err(PackError::disk("keeping a repository")),
            }
        })();
        let _ = fs::remove_dir_all(&temporary);
        result
    }

    /// Whether a version may come from tags: then one commit alone doesn't do.
    fn wants_history(&self, repository: &Path) -> bool {
        let shown = Command::new("git")
            .args(["show", "FETCH_HEAD:pyproject.toml"])
            .current_dir(repository)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let text = shown.map(|output| output.stdout).unwrap_or_default();
        // With no pyproject.toml there, setup.py may do the same.
        text.is_empty() || names_git(&String::from_utf8_lossy(&text))
    }

    fn git(
        &self,
        package: &Pinned,
        plain: &str,
        url: &str,
        folder: &Path,
        arguments: &[&str],
    ) -> Result<(), PackError> {
        let output = Command::new("git")
            .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null"])
            .args([
                "-c",
                "filter.lfs.smudge=",
                "-c",
                "filter.lfs.process=",
                "-c",
                "filter.lfs.required=false",
            ])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .stdin(Stdio::null())
            .output();
        let fetch = |what: String, help: &str| {
            failure(
                package,
                Reason::Fetch {
                    what,
                    help: help.to_owned(),
                },
            )
        };
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(fetch(
                    format!("it comes from {plain}, and there is no `git` on this machine"),
                    "install git (`apt-get install git`)",
                ));
            }
            other => other.map_err(PackError::disk("running git"))?,
        };
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.replace(url.strip_prefix("git+").unwrap_or(url), plain);
        let help = if [
            "Authentication failed",
            "could not read Username",
            "Permission denied",
        ]
        .iter()
        .any(|sign| words.contains(sign))
        {
            "git has no login for it: set up a credential helper, or an SSH key"
        } else {
            "look whether the repository and the commit are still there, and lock again"
        };
        let last: Vec<&str> = words.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Err(fetch(format!("git says: {}", last.join("; ")), help))
    }
}

impl Packer<'_> {
    /// Folders and files of this machine that packages are built from, as they are now: a plan holds while they do.
    pub(crate) fn local_sources(
        &self,
        selected: &[Pinned],
        lock_dir: &Path,
    ) -> Result<BTreeMap<PathBuf, Digest>, PackError> {
        let mut found = BTreeMap::new();
        for package in selected {
            let path = match &package.direct {
                Some(Direct::Directory {
                    path,
                    is_virtual: false,
                    ..
                })
                | Some(Direct::Path { path }) => lock_dir.join(path),
                _ => continue,
            };
            let digest = self.local_source(&path)?;
            found.insert(path, digest);
        }
        Ok(found)
    }

    /// The digest of a folder's sources, or of a file.
    pub(crate) fn local_source(&self, path: &Path) -> Result<Digest, PackError> {
        if path.is_dir() {
            return Ok(self.folder(path)?.digest);
        }
        file_digest(path).map_err(|source| PackError::Read {
            path: path.to_owned(),
            source,
        })
    }
}

/// Whether a project's version comes from its history.
fn asks_git(dir: &Path) -> bool {
    ["pyproject.toml", "setup.py", "setup.cfg"].iter().any(|name| {
        let mut text = String::new();
        let read =
            fs::File::open(dir.join(name)).and_then(|file| file.take(1 << 20).read_to_string(&mut text));
        read.is_ok() && names_git(&text)
    })
}

/// Names of what reads versions from a repository.
fn names_git(text: &str) -> bool {
    [
        "setuptools_scm",
        "setuptools-scm",
        "setuptools-git",
        "hatch-vcs",
        "versioningit",
        "versioneer",
        "dunamai",
        "poetry-dynamic-versioning",
        "pdm-backend",
        "pbr",
        "flit_scm",
        "flit-scm",
        "vcs-versioning",
        "miniver",
        "git_versioning",
    ]
    .iter()
    .any(|name| text.contains(name))
}

fn file_name(location: &str) -> String {
    let bare = location.split(['#', '?']).next().unwrap_or(location);
    bare.rsplit('/').next().unwrap_or(bare).to_owned()
}

pub(crate) fn file_digest(path: &Path) -> std::io::Result<Digest> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Hasher::new();
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finish())
}

/// The package as people know it: by its place, where its name is not known yet.
pub(crate) fn title(package: &Pinned) -> String {
    let unnamed = *UNNAMED == *package.name.as_ref();
    match &package.direct {
        Some(Direct::Directory { path, .. } | Direct::Path { path }) if unnamed => path.clone(),
        Some(Direct::Url { url, .. } | Direct::Git { url, .. }) if unnamed => {
            coil_python::without_credentials(url)
        }
        _ => package.title(),
    }
}

pub(crate) fn failure(package: &Pinned, reason: Reason) -> PackError {
    PackError::Build(Box::new(SourceBuildFailure {
        package: title(package),
        reason,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_from_history_is_recognised() {
        assert!(names_git(
            "[build-system]\nrequires = [\"setuptools\", \"setuptools_scm[toml]>=8\"]"
        ));
        assert!(!names_git("[project]\nname = \"a\"\nversion = \"1\""));
    }

    #[test]
    fn what_a_run_changes_is_no_source() {
        let sources = Sources {
            with_git: false,
            left_out: BTreeSet::new().into(),
        };
        for path in [
            ".git",
            "a/__pycache__",
            "build",
            "a.egg-info",
            "src/a.egg-info",
            "a/b.pyc",
        ] {
            assert!(!sources.ships(path), "{path}");
        }
        assert!(sources.ships("a/build") && sources.ships("build/../x"));
    }
}
