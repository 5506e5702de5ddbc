//! Requirements that name a folder, an archive or a repository: built before the resolution, which sees their wheels.

use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use coil_oci::Digest;
use coil_python::{Direct, PackageName, Pinned, Target, parse_marker, without_credentials};
use coil_wheel::download::FetchedWheel;
use coil_wheel::filename::DistributionName;

use crate::error::PackError;
use crate::hash_pins::{hashes_of, without_hashes};
use crate::package_layers::BuildSource;
use crate::source_build::{Builder, UNNAMED};
use crate::source_build_failure::Reason;
use crate::source_build_resolve::Offered;
use crate::source_build_source::failure;

/// A requirement's line that leads to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectLine {
    /// The name, where the line has one.
    name: Option<String>,
    /// `[extra,…]`, or nothing.
    extras: String,
    /// The marker, or nothing.
    marker: String,
    /// Where it leads; the commit of a repository is still what was asked for.
    direct: Direct,
    /// The hashes of which its file must have one.
    hashes: Vec<Digest>,
}

impl DirectLine {
    /// Reads a line; none for one that asks an index, for a wheel, and for the project itself.
    pub(crate) fn read(line: &str, root: &Path) -> Option<DirectLine> {
        let hashes = hashes_of(line);
        let line = without_hashes(line);
        let (line, editable) = match line.strip_prefix("-e ") {
            Some(rest) => (rest.trim(), true),
            None => (line, false),
        };
        let (what, marker) = line.split_once(" ; ").unwrap_or((line, ""));
        let (name, location) = match what.split_once(" @ ") {
            Some((name, location)) => (Some(name.trim()), location.trim()),
            None => (None, what.trim()),
        };
        let (name, location, extras) = match name {
            Some(name) => {
                let (name, extras) = split_extras(name);
                (Some(name.to_owned()), location, extras)
            }
            None => {
                let (location, extras) = split_extras(location);
                (None, location, extras)
            }
        };
        let direct = direct_of(location, root, editable, name.is_some() || editable)?;
        Some(DirectLine {
            name,
            extras: extras.to_owned(),
            marker: marker.trim().to_owned(),
            direct,
            hashes,
        })
    }

    fn holds(&self, target: &Target) -> bool {
        // What can't be read is uv's to complain about.
        self.marker.is_empty()
            || parse_marker(&self.marker)
                .is_none_or(|marker| marker.evaluate(&target.marker_environment(), &[]))
    }
}

/// `name[a,b]` as `name` and `[a,b]`.
fn split_extras(text: &str) -> (&str, &str) {
    match text.rfind('[') {
        Some(at) if text.ends_with(']') => text.split_at(at),
        _ => (text, ""),
    }
}

fn direct_of(location: &str, root: &Path, editable: bool, surely: bool) -> Option<Direct> {
    let (bare, fragment) = location.split_once('#').unwrap_or((location, ""));
    let subdirectory = fragment
        .split('&')
        .find_map(|part| part.strip_prefix("subdirectory="))
        .map(str::to_owned);
    if bare.ends_with(".whl") {
        return None;
    }
    if let Some(rest) = bare.strip_prefix("git+") {
        let path = rest.find("://").map_or(0, |at| at + 3);
        let path = path + rest[path..].find('/').unwrap_or(0);
        let (url, requested) = match rest[path..].rfind('@') {
            Some(at) => (&rest[..path + at], Some(rest[path + at + 1..].to_owned())),
            None => (rest, None),
        };
        return Some(Direct::Git {
            url: url.to_owned(),
            commit: requested.clone().unwrap_or_else(|| "HEAD".into()),
            requested,
            subdirectory,
        });
    }
    if bare.starts_with("http://") || bare.starts_with("https://") {
        let url = bare.to_owned();
        return Some(Direct::Url { url, subdirectory });
    }
    let path = bare.strip_prefix("file://").unwrap_or(bare);
    let is_path = surely || path.contains('/') || path.starts_with('.');
    let place = root.join(path);
    let is_root = place.canonicalize().ok() == root.canonicalize().ok();
    if !is_path || is_root || path.contains("://") {
        return None;
    }
    let path = path.trim_end_matches('/').to_owned();
    Some(if place.is_dir() {
        Direct::Directory {
            path,
            editable,
            is_virtual: false,
        }
    } else {
        Direct::Path { path }
    })
}

/// The requirements with wheels in the place of sources, and what each of these packages really is.
pub(crate) struct Built {
    /// The requirements' lines.
    pub(crate) lines: Vec<String>,
    packages: Vec<(PackageName, Direct)>,
}

impl Built {
    /// The package as it is asked for, not the wheel that stood in for it.
    pub(crate) fn restore(&self, mut package: Pinned) -> Pinned {
        if let Some((_, direct)) = self.packages.iter().find(|(name, _)| *name == package.name) {
            package.direct = Some(direct.clone());
            package.artifacts.clear();
            package.hashes.clear();
            package.index = None;
        }
        package
    }
}

impl Builder<'_> {
    /// Builds what lines lead to, and offers the wheels.
    pub(crate) fn direct_lines(
        &self,
        lines: &[String],
        offered: &Offered<'_>,
        stack: &mut Vec<String>,
    ) -> Result<Built, PackError> {
        let mut built = Built {
            lines: Vec::new(),
            packages: Vec::new(),
        };
        for line in lines {
            let Some(found) = DirectLine::read(line, self.parts.lock_dir) else {
                built.lines.push(line.clone());
                continue;
            };
            if !found.holds(self.parts.target) {
                continue;
            }
            let mut package = Pinned::new(UNNAMED, "0");
            package.version = None;
            if let Some(name) = found
                .name
                .as_deref()
                .and_then(|name| PackageName::from_str(name).ok())
            {
                package.name = name;
            }
            package.direct = Some(found.direct.clone());
            package.hashes = found.hashes;
            let direct = self.with_commit(&package, found.direct)?;
            package.direct = Some(direct.clone());
            let wheel = self.wheel(&package, &BuildSource::Tree, stack)?;
            offered.add(&wheel)?;
            let name = name_of(&package, &wheel)?;
            let marker = match found.marker.is_empty() {
                true => String::new(),
                false => format!(" ; {}", found.marker),
            };
            let place = offered.path(&wheel);
            built
                .lines
                .push(format!("{name}{} @ file://{place}{marker}", found.extras));
            built.packages.push((name, direct));
        }
        Ok(built)
    }

    /// A repository with the commit that a branch or a tag stands for now.
    fn with_commit(&self, package: &Pinned, direct: Direct) -> Result<Direct, PackError> {
        let Direct::Git {
            url,
            commit,
            requested,
            subdirectory,
        } = direct
        else {
            return Ok(direct);
        };
        let is_whole = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        let commit = match is_whole {
            true => commit,
            false => self.commit_of(package, &url, &commit)?,
        };
        Ok(Direct::Git {
            url,
            commit,
            requested,
            subdirectory,
        })
    }
}

fn name_of(package: &Pinned, wheel: &FetchedWheel) -> Result<PackageName, PackError> {
    let name = DistributionName::wheel(&wheel.filename).map(|name| name.name);
    name.and_then(|name| PackageName::from_str(&name).ok())
        .ok_or_else(|| {
            let what = format!("{} is no wheel's name", wheel.filename);
            failure(package, Reason::Wheel(what))
        })
}

impl Builder<'_> {
    /// Asks a repository what a branch, a tag or the beginning of a commit stands for.
    fn commit_of(&self, package: &Pinned, url: &str, wanted: &str) -> Result<String, PackError> {
        let plain = without_credentials(url);
        let fetch = |what: String, help: &str| {
            let help = help.to_owned();
            failure(package, Reason::Fetch { what, help })
        };
        let peeled = format!("{wanted}^{{}}");
        let output = git(&["ls-remote", "--", url, wanted, &peeled]);
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let what = format!("it comes from {plain}, and there is no `git` on this machine");
                return Err(fetch(what, "install git (`apt-get install git`)"));
            }
            other => other.map_err(PackError::disk("running git"))?,
        };
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).replace(url, &plain);
            let words = words
                .lines()
                .find_map(|line| line.strip_prefix("fatal: "))
                .or(words.lines().next())
                .unwrap_or("nothing");
            let help = match [
                "Authentication failed",
                "could not read Username",
                "Permission denied",
            ]
            .iter()
            .any(|sign| words.contains(sign))
            {
                true => "git has no login for it: set up a credential helper, or an SSH key",
                false => "look whether the repository is still there, and reachable from here",
            };
            return Err(fetch(format!("git says of {plain}: {words}"), help));
        }
        if let Some(commit) = best_commit(&String::from_utf8_lossy(&output.stdout), wanted) {
            return Ok(commit);
        }
        let short = (4..40).contains(&wanted.len()) && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let (true, Some(commit)) = (short, self.whole_commit(url, wanted)?) {
            return Ok(commit);
        }
        let what = format!("{plain} has no branch, tag or commit `{wanted}`");
        Err(fetch(what, "name a branch, a tag or a commit that is there"))
    }

    /// The commit that begins like this; only the repository's whole history can tell.
    fn whole_commit(&self, url: &str, beginning: &str) -> Result<Option<String>, PackError> {
        let store = self.packer.store;
        let folder = store.temp_path().map_err(PackError::disk("making a folder"))?;
        let place = folder.display().to_string();
        let asking = || -> std::io::Result<Option<String>> {
            for words in [
                &["init", "-q", "--bare", &place][..],
                &[
                    "-C",
                    &place,
                    "fetch",
                    "-q",
                    "--filter=tree:0",
                    url,
                    "+refs/*:refs/*",
                ],
            ] {
                if !git(words)?.status.success() {
                    return Ok(None);
                }
            }
            let name = format!("{beginning}^{{commit}}");
            let found = git(&["-C", &place, "rev-parse", "-q", "--verify", &name])?;
            let text = String::from_utf8_lossy(&found.stdout).trim().to_owned();
            Ok((found.status.success() && text.len() == 40).then_some(text))
        };
        let found = asking();
        let _ = store.remove_folder(&folder);
        found.map_err(PackError::disk("running git"))
    }
}

fn git(arguments: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new("git")
        .args(["-c", "protocol.ext.allow=never", "-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null())
        .output()
}

/// What a name stands for in the answer of `git ls-remote`, which also lists what only ends like it: the branch, then the tag.
fn best_commit(listed: &str, wanted: &str) -> Option<String> {
    let names = [
        format!("refs/heads/{wanted}"),
        format!("refs/tags/{wanted}^{{}}"),
        format!("refs/tags/{wanted}"),
        format!("{wanted}^{{}}"),
        wanted.to_owned(),
    ];
    names.iter().find_map(|name| {
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        let mut found = lines.filter(|(_, known)| known == name);
        found.next().map(|(commit, _)| commit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_branch_or_the_tag_and_nothing_that_ends_like_it() {
        let listed = "1\trefs/heads/feature/main\n2\trefs/heads/main\n3\trefs/tags/main\n4\trefs/tags/v1\n5\trefs/tags/v1^{}\n\
                      6\trefs/pull/7/head\n7\tHEAD\n8\trefs/remotes/x/HEAD\n";
        for (wanted, commit) in [
            ("main", Some("2")),
            ("feature/main", Some("1")),
            ("v1", Some("5")),
            ("refs/pull/7/head", Some("6")),
            ("HEAD", Some("7")),
            ("head", None),
        ] {
            assert_eq!(best_commit(listed, wanted).as_deref(), commit, "{wanted}");
        }
    }

    #[test]
    fn lines_that_lead_to_sources() {
        let root = std::env::temp_dir();
        let read = |line: &str| DirectLine::read(line, &root);
        assert_eq!(read("flask==3 --hash=sha256:00"), None);
        assert_eq!(read("./a-1-py3-none-any.whl"), None);
        assert_eq!(read("-e ."), None);
        let found =
            read("a[x,y] @ git+https://h.example/g/r.git@v1#subdirectory=p ; python_version > '3'").unwrap();
        assert_eq!(
            (found.name.as_deref(), found.extras.as_str()),
            (Some("a"), "[x,y]")
        );
        assert_eq!(found.marker, "python_version > '3'");
        assert_eq!(
            found.direct,
            Direct::Git {
                url: "https://h.example/g/r.git".into(),
                commit: "v1".into(),
                requested: Some("v1".into()),
                subdirectory: Some("p".into()),
            }
        );
        let found = read("git+ssh://git@h.example/r").unwrap();
        assert!(
            matches!(found.direct, Direct::Git { url, requested: None, .. } if url == "ssh://git@h.example/r")
        );
        let found = read("./not-there.tar.gz[z]").unwrap();
        assert_eq!(
            (found.direct, found.extras.as_str()),
            (
                Direct::Path {
                    path: "./not-there.tar.gz".into()
                },
                "[z]"
            )
        );
    }
}
