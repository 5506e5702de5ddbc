//! The Pythons of an image from elsewhere, found in its files without running anything.

use std::collections::BTreeSet;

use coil_elf::Machine;
use coil_oci::{Arch, Digest};
use coil_python::{Libc, PythonVersion};

use crate::image_system::{libc_of, read_elf};
use crate::image_tree::{ImageTree, Node};

/// More than any interpreter or its library has.
const LIMIT: u64 = 256 << 20;
/// Where Docker looks when an image sets no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders with a Python in each of their own folders: conda's, pyenv's, uv's, those of `/opt`.
const COLLECTIONS: [&str; 6] = [
    "/opt",
    "/opt/python",
    "/root/.pyenv/versions",
    "/usr/local/pyenv/versions",
    "/root/.local/share/uv/python",
    "/usr/local/share/uv/python",
];

/// One interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePython {
    /// The program, `/usr/local/bin/python3.11`: a real file.
    pub(crate) program: String,
    /// Its version; none where the files don't tell the third number.
    pub(crate) version: Option<PythonVersion>,
    /// `3.11`.
    pub(crate) minor: String,
    /// The folders of its standard library.
    pub(crate) libraries: Vec<String>,
    /// The C library that it is linked against.
    pub(crate) libc: Libc,
    /// What tells it from another build of the same version.
    pub(crate) identity: String,
    /// Whether every user may run it.
    pub(crate) is_open: bool,
}

/// The interpreters of an image, the first one being what `python3` starts there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Those that can be used.
    pub(crate) pythons: Vec<ImagePython>,
    /// Those that can't be, and why.
    pub(crate) refused: Vec<String>,
    seen: BTreeSet<String>,
}

/// Looks for interpreters: along the image's `PATH`, then where installers put them.
pub(crate) fn find_pythons(tree: &ImageTree, path: Option<&str>, arch: Arch) -> Search {
    let mut search = Search::default();
    for folder in path
        .unwrap_or(USUAL_PATH)
        .split(':')
        .filter(|folder| !folder.is_empty())
    {
        search.folder(tree, folder, arch);
    }
    for folder in ["/usr/local/bin", "/usr/bin"] {
        search.folder(tree, folder, arch);
    }
    for collection in COLLECTIONS {
        for name in folders(tree, collection) {
            search.folder(tree, &format!("{collection}/{name}/bin"), arch);
        }
    }
    for user in folders(tree, "/home") {
        for below in [".pyenv/versions", ".local/share/uv/python"] {
            let collection = format!("/home/{user}/{below}");
            for name in folders(tree, &collection) {
                search.folder(tree, &format!("{collection}/{name}/bin"), arch);
            }
        }
    }
    search
}

fn folders(tree: &ImageTree, path: &str) -> Vec<String> {
    let entries = tree.list(path).unwrap_or_default().into_iter();
    entries
        .filter(|(_, node)| matches!(node, Node::Folder(_)))
        .map(|(name, _)| name)
        .collect()
}

/// `3.11` of `python3.11`, and whether it is a free-threaded one (`python3.13t`).
fn versioned(name: &str) -> Option<(String, bool)> {
    let rest = name.strip_prefix("python")?;
    let (rest, threaded) = match rest.strip_suffix('t') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let minor = rest.strip_prefix("3.")?;
    let fits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| (rest.to_owned(), threaded))
}

impl Search {
    fn folder(&mut self, tree: &ImageTree, folder: &str, arch: Arch) {
        let names: Vec<String> = tree.list(folder).unwrap_or_default().into_keys().collect();
        let mut versions: Vec<&String> = names.iter().filter(|name| versioned(name).is_some()).collect();
        // The newest first, by number.
        versions.sort_by_key(|name| {
            let minor = name.rsplit('.').next().unwrap_or_default().trim_end_matches('t');
            std::cmp::Reverse(minor.parse::<u32>().unwrap_or(0))
        });
        let plain = names
            .iter()
            .filter(|name| matches!(name.as_str(), "python3" | "python"));
        // `python3` before `python`: the map has them the other way round.
        let plain: Vec<&String> = plain.collect::<Vec<_>>().into_iter().rev().collect();
        for name in plain.into_iter().chain(versions) {
            self.candidate(tree, &format!("{folder}/{name}"), arch, 0);
        }
    }

    fn candidate(&mut self, tree: &ImageTree, path: &str, arch: Arch, depth: u32) {
        let Some((real, _)) = tree.file(path) else {
            return;
        };
        if !self.seen.insert(real.clone()) {
            return;
        }
        let home = real.rsplit_once('/').map_or("", |(home, _)| home).to_owned();
        let prefix = home.rsplit_once('/').map_or("", |(prefix, _)| prefix).to_owned();
        // A virtual environment that has a copy of the program belongs to another Python.
        if let Some(settings) = tree.text(&format!("{prefix}/pyvenv.cfg"), LIMIT) {
            let of = settings.lines().find_map(|line| {
                let (name, value) = line.split_once('=')?;
                (name.trim() == "home").then(|| value.trim().to_owned())
            });
            if let Some(of) = of.filter(|_| depth < 3) {
                let name = real.rsplit('/').next().unwrap_or_default();
                for name in [name, "python3"] {
                    self.candidate(tree, &format!("{of}/{name}"), arch, depth + 1);
                }
            }
            return;
        }
        // Scripts that choose among several Pythons (pyenv's) are none.
        let Some(elf) = read_elf(tree, &real) else {
            return;
        };
        match self.inspect(tree, &real, &home, &prefix, &elf, arch) {
            Ok(python) => self.pythons.push(python),
            Err(reason) => self.refused.push(format!("{real} {reason}")),
        }
    }

    fn inspect(
        &self,
        tree: &ImageTree,
        real: &str,
        home: &str,
        prefix: &str,
        elf: &coil_elf::Elf,
        arch: Arch,
    ) -> Result<ImagePython, String> {
        let machine = match arch {
            Arch::Amd64 => Machine::X86_64,
            Arch::Arm64 => Machine::AARCH64,
        };
        if elf.machine != machine {
            return Err(format!("is for {}, not for {}", elf.machine, arch.machine()));
        }
        let name = real.rsplit('/').next().unwrap_or_default();
        let siblings = || tree.list(home).unwrap_or_default().into_keys();
        let named = versioned(name).or_else(|| {
            // `python3` that is no link: another name beside it says which one it is.
            let mut same = siblings().filter(|other| {
                tree.file(&format!("{home}/{other}"))
                    .is_some_and(|(path, _)| path == real)
            });
            same.find_map(|other| versioned(&other))
        });
        let Some((minor, threaded)) = named else {
            return Err("has no name with a version beside it (python3.X)".into());
        };
        if threaded {
            return Err("is a free-threaded build, for which coil lays out no environment yet".into());
        }
        // The environment's own link goes by this name.
        if tree.file(&format!("{home}/python{minor}")).is_none() {
            return Err(format!("has no python{minor} beside it"));
        }
        let mut libraries: Vec<String> = ["lib", "lib64"]
            .iter()
            .map(|lib| format!("{prefix}/{lib}/python{minor}"))
            .filter(|folder| tree.file(&format!("{folder}/os.py")).is_some())
            .collect();
        if libraries.is_empty() {
            return Err(format!("has no standard library in {prefix}/lib/python{minor}"));
        }
        libraries.dedup_by_key(|folder| tree.find(folder).map(|found| found.path));
        let shared = format!("{prefix}/lib/python3/dist-packages");
        if tree.find(&shared).is_some() {
            libraries.push(shared);
        }
        let loader = elf
            .interpreter
            .as_deref()
            .ok_or("is linked statically, so that no wheel with compiled code fits it")?;
        let libc = libc_of(tree, loader, arch)
            .ok_or_else(|| format!("is linked by {loader}, whose C library can't be recognised"))?;
        let program = tree.read(real, LIMIT).ok_or("cannot be read")?;
        let library = elf
            .needed
            .iter()
            .find(|needed| needed.starts_with("libpython"))
            .and_then(|library| {
                let places = [
                    format!("{prefix}/lib/{library}"),
                    format!("{prefix}/lib64/{library}"),
                    format!("/usr/lib/{}/{library}", arch.triplet()),
                    format!("/usr/local/lib/{library}"),
                    format!("/usr/lib/{library}"),
                ];
                places.iter().find_map(|place| tree.read(place, LIMIT))
            })
            .unwrap_or_default();
        let header = tree
            .text(&format!("{prefix}/include/python{minor}/patchlevel.h"), LIMIT)
            .and_then(|text| of_header(&text));
        let version = header.or_else(|| {
            let mut found = of_binary(&program, &minor);
            found.extend(of_binary(&library, &minor));
            // Two of them leave it open.
            (found.len() == 1).then(|| found.pop_first()).flatten()
        });
        Ok(ImagePython {
            program: format!("{home}/python{minor}"),
            version: version.filter(|version| version.minor_text() == minor),
            identity: format!("{} {}", Digest::of(&program), Digest::of(&library)),
            is_open: tree.is_open_to_all(real) && libraries.iter().all(|folder| tree.is_open_to_all(folder)),
            minor,
            libraries,
            libc,
        })
    }
}

/// `#define PY_VERSION "3.11.9"` of `patchlevel.h`.
fn of_header(text: &str) -> Option<PythonVersion> {
    let line = text.lines().find(|line| line.contains("PY_VERSION "))?;
    parse(line.split('"').nth(1)?)
}

/// The versions that stand alone in a program's data, as `PY_VERSION` does.
fn of_binary(bytes: &[u8], minor: &str) -> BTreeSet<PythonVersion> {
    let start = format!("{minor}.");
    bytes
        .split(|byte| *byte == 0)
        .filter(|text| text.len() <= 16 && text.starts_with(start.as_bytes()))
        .filter_map(|text| parse(std::str::from_utf8(text).ok()?))
        .collect()
}

/// `3.11.9`, `3.14.0rc2` and `3.13.1+` by their three numbers, as the interpreter counts itself.
fn parse(text: &str) -> Option<PythonVersion> {
    let mut parts = text.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (micro, tail) = rest.split_at(end);
    let known = tail.is_empty() || tail == "+" || ["a", "b", "rc"].iter().any(|kind| tail.starts_with(kind));
    match known {
        true => Some(PythonVersion::new(
            major.parse().ok()?,
            minor.parse().ok()?,
            micro.parse().ok()?,
        )),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_headers_and_binaries() {
        let header = "/* Version as a string */\n#define PY_VERSION      \t\"3.11.9\"\n";
        assert_eq!(of_header(header), Some(PythonVersion::new(3, 11, 9)));
        let binary = b"\0Python 3.11.2\x003.11.2\x003.11\x003.11.x\x003.1.2\x00libpython3.11.so\0";
        let found: Vec<String> = of_binary(binary, "3.11")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["3.11.2"]);
        assert_eq!(parse("3.14.0rc2"), Some(PythonVersion::new(3, 14, 0)));
        assert_eq!(parse("3.13.1+"), Some(PythonVersion::new(3, 13, 1)));
        assert_eq!(parse("3.13.1-x"), None);
    }

    #[test]
    fn names_with_versions() {
        assert_eq!(versioned("python3.11"), Some(("3.11".into(), false)));
        assert_eq!(versioned("python3.13t"), Some(("3.13".into(), true)));
        for other in ["python3", "python", "python3.11-config", "python2.7", "python3."] {
            assert_eq!(versioned(other), None, "{other}");
        }
    }
}
