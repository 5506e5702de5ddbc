//! Which package has a file: by the archive's own list of all files (`Contents-ARCH`), verified as the other lists are.
//!
//! That list is long, 12 MB packed and 170 unpacked for an architecture. It is read only when something is looked for, as a
//! stream, and each answer is kept until the suite changes. A library's package is first looked for by the name that Debian's
//! policy gives it, which spares the long list nearly always.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use coil_fetch::{Download, FetchError, Progress, redact_url};
use coil_oci::{Arch, Digest};
use serde::{Deserialize, Serialize};

use crate::archive::{Part, pin};
use crate::error::ResolveError;
use crate::index::PackageIndex;
use crate::maintainer_script;
use crate::package_file::{PackageFault, clean, next_member, read_member};
use crate::pinned::{PinnedBase, PinnedPackage};
use crate::release::compact_date;
use crate::solve::SolveError;
use crate::suite::Suite;
use crate::{Archive, cached_file};

/// Raised when the same lists give another answer than before.
const ANSWERS: u32 = 1;
const FILES: &str = "debian-file-v1";
const LIBRARIES: &str = "debian-library-v1";
/// How many packages are told for one file.
const MOST_FOUND: usize = 20;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FoundFile {
    /// The package that has it.
    pub package: String,
    /// Its path, without a leading slash.
    pub path: String,
}

impl Archive {
    /// Looks for files by the ends of their paths: `cairo.h`, `bin/pg_config`, `pkgconfig/libpq.pc`.
    ///
    /// The answers are by what was asked for; the least deep paths come first, at most twenty. The architecture's own packages
    /// go before those for all, whose list is only read where the first has nothing.
    ///
    /// # Errors
    /// When a list can't be fetched or trusted.
    pub fn find_files(
        &self,
        suite: &str,
        arch: Arch,
        ends: &[String],
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Vec<FoundFile>>, ResolveError> {
        let mut found = BTreeMap::new();
        let mut left: Vec<String> = ends
            .iter()
            .map(|end| end.trim_matches('/').to_string())
            .filter(|end| !end.is_empty())
            .collect();
        left.sort();
        left.dedup();
        if left.is_empty() {
            return Ok(found);
        }
        let parts = self.parts(known_suite(suite)?, arch, progress)?;
        for list in [arch.debian(), "all"] {
            let answers = self.look(&parts[0], suite, list, &left, progress)?;
            left.retain(|end| answers.get(end).is_none_or(Vec::is_empty));
            for (end, files) in answers {
                let known: &mut Vec<FoundFile> = found.entry(end).or_default();
                known.extend(files);
            }
            if left.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Looks for files in one list.
    fn look(
        &self,
        part: &Part,
        suite: &str,
        list: &str,
        ends: &[String],
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, Vec<FoundFile>>, ResolveError> {
        let path = format!("main/Contents-{list}.gz");
        let mut answers = BTreeMap::new();
        let Some(listed) = part.signed.release.find(&path) else {
            return Ok(answers);
        };
        let key = |end: &str| {
            let text = format!("{ANSWERS} {} {end}", listed.sha256);
            Digest::of(text.as_bytes()).hex().to_string()
        };
        let mut left = Vec::new();
        for end in ends {
            let known = self.store.cache_get(FILES, &key(end));
            match known.and_then(|bytes| serde_json::from_slice::<Vec<FoundFile>>(&bytes).ok()) {
                Some(files) => drop(answers.insert(end.clone(), files)),
                None => left.push(end.as_str()),
            }
        }
        if left.is_empty() {
            return Ok(answers);
        }
        let uri = format!("{}/dists/{suite}", self.mirror("debian").uri);
        let mut addresses = vec![format!("{uri}/{path}")];
        if part.signed.release.by_hash {
            let digest = listed.sha256.hex();
            addresses.insert(0, format!("{uri}/main/by-hash/SHA256/{digest}"));
        }
        let dest = self
            .store
            .download_path("indices", &format!("{}.gz", listed.sha256.hex()));
        let disk = |source| ResolveError::Disk {
            path: dest.clone(),
            source,
        };
        let mut file = cached_file::open(&dest, &listed.sha256).ok().flatten();
        for url in &addresses {
            if file.is_some() {
                break;
            }
            let request = Download {
                url: url.clone(),
                dest: dest.clone(),
                id: format!("Debian {suite} list of files"),
                size: Some(listed.size),
                sha256: Some(listed.sha256.clone()),
            };
            match self.fetcher.download(&request, progress) {
                Ok(_) => file = Some(File::open(&dest).map_err(disk)?),
                Err(FetchError::NotFound { .. }) => {}
                Err(source) => {
                    let what = format!("the list of files of Debian {suite}");
                    return Err(ResolveError::Fetch { what, source });
                }
            }
        }
        let Some(file) = file else {
            return Ok(answers);
        };
        let found = search(file, &left).map_err(|_| ResolveError::Malformed {
            url: redact_url(&addresses[0]),
            reason: "it cannot be unpacked".into(),
        })?;
        for (end, files) in found {
            let record = serde_json::to_vec(&files).unwrap_or_default();
            // Without the record the next time is slower, and nothing else.
            let _ = self.store.cache_put(FILES, &key(&end), &record);
            answers.insert(end, files);
        }
        Ok(answers)
    }

    /// Finds the packages that bring shared libraries into the linker's folders, by the names under which they are needed.
    ///
    /// Names that no package has are not in the answer.
    ///
    /// # Errors
    /// When a list or a package can't be fetched or trusted.
    pub fn find_libraries(
        &self,
        suite: &str,
        arch: Arch,
        sonames: &[String],
        progress: &dyn Progress,
    ) -> Result<BTreeMap<String, String>, ResolveError> {
        let mut found = BTreeMap::new();
        if sonames.is_empty() {
            return Ok(found);
        }
        let mut parts = self.parts(known_suite(suite)?, arch, progress)?;
        let mut lists = format!("{ANSWERS} {arch}");
        for part in &parts {
            lists.push_str(&format!(" {}", part.listed.sha256));
        }
        let key = |soname: &str| {
            Digest::of(format!("{lists} {soname}").as_bytes())
                .hex()
                .to_string()
        };
        let mut left = Vec::new();
        for soname in sonames {
            let known = self.store.cache_get(LIBRARIES, &key(soname));
            match known.and_then(|bytes| serde_json::from_slice::<Option<String>>(&bytes).ok()) {
                Some(Some(package)) => drop(found.insert(soname.clone(), package)),
                Some(None) => {}
                None if soname.contains('/') => {}
                None => left.push(soname.clone()),
            }
        }
        if left.is_empty() {
            return Ok(found);
        }
        let index = self.read_all(&parts, progress)?;
        let main = parts.swap_remove(0);
        let mut asked = Vec::new();
        let mut answers: BTreeMap<String, Option<String>> = BTreeMap::new();
        for soname in &left {
            match self.by_name(&index, &main, suite, arch, soname, progress)? {
                Some(package) => drop(answers.insert(soname.clone(), Some(package))),
                None => asked.push(soname.clone()),
            }
        }
        if !asked.is_empty() {
            let files = self.look(&main, suite, arch.debian(), &asked, progress)?;
            for soname in asked {
                let files = files.get(&soname).map(Vec::as_slice).unwrap_or_default();
                let package = in_linker_folder(files, arch)
                    .filter(|name| index.best(name, |_| true).is_some())
                    .map(str::to_string);
                answers.insert(soname, package);
            }
        }
        for (soname, package) in answers {
            let record = serde_json::to_vec(&package).unwrap_or_default();
            let _ = self.store.cache_put(LIBRARIES, &key(&soname), &record);
            found.extend(package.map(|package| (soname, package)));
        }
        Ok(found)
    }

    /// A library's package by the name that it should have, if it really has the library.
    fn by_name(
        &self,
        index: &PackageIndex,
        main: &Part,
        suite: &str,
        arch: Arch,
        soname: &str,
        progress: &dyn Progress,
    ) -> Result<Option<String>, ResolveError> {
        for name in usual_names(soname) {
            let Some(package) = index.best(&name, |_| true) else {
                continue;
            };
            let pinned = pin(&package)?;
            let list = PinnedBase {
                suite: suite.to_string(),
                arch: arch.debian().to_string(),
                python: String::new(),
                date: compact_date(main.signed.release.date),
                release: main.signed.digest.clone(),
                packages: vec![pinned.clone()],
            };
            // What can't be had or read is not the package that is looked for; adding it says why.
            if self.fetch_all(&list, progress).is_ok() && self.brings(&pinned, arch, soname) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether a package, which is in the cache, puts a library where the linker finds it, itself or as an alternative.
    fn brings(&self, package: &PinnedPackage, arch: Arch, soname: &str) -> bool {
        let Ok((script, paths)) = self.script_and_paths(package) else {
            return false;
        };
        let folders = linker_folders(arch);
        let wanted: Vec<String> = folders
            .iter()
            .map(|folder| format!("{folder}/{soname}"))
            .collect();
        let linked = maintainer_script::alternatives(&script, arch);
        paths.iter().any(|path| wanted.contains(path))
            || linked.iter().any(|install| {
                wanted
                    .iter()
                    .any(|path| install.link.trim_start_matches('/') == path)
            })
    }

    /// The script that would run after unpacking, empty where there is none, and the paths of a package in the cache.
    pub(crate) fn script_and_paths(
        &self,
        package: &PinnedPackage,
    ) -> Result<(String, Vec<String>), PackageFault> {
        /// More than any maintainer script has.
        const LONGEST_SCRIPT: u64 = 4 << 20;
        let mut deb = File::open(self.deb_path(package)).map_err(PackageFault::Disk)?;
        deb.read_exact(&mut [0; 8]).map_err(PackageFault::Disk)?;
        let (mut script, mut paths) = (Vec::new(), Vec::new());
        while let Some((name, size)) = next_member(&mut deb)? {
            let mut member = (&mut deb).take(size);
            let is_control = name.starts_with("control.tar");
            if is_control || name.starts_with("data.tar") {
                let mut read = |tar: &mut dyn Read| {
                    let broken = |_| PackageFault::from("its tar file is damaged");
                    let mut archive = tar::Archive::new(tar);
                    for entry in archive.entries().map_err(broken)? {
                        let mut entry = entry.map_err(broken)?;
                        let path = clean(&entry.path_bytes())?;
                        if !is_control {
                            paths.push(path);
                        } else if path == "postinst" {
                            let mut part = (&mut entry).take(LONGEST_SCRIPT);
                            part.read_to_end(&mut script).map_err(broken)?;
                        }
                    }
                    Ok(())
                };
                read_member(&name, &mut member, &mut read)?;
            }
            std::io::copy(&mut member, &mut std::io::sink()).map_err(PackageFault::Disk)?;
            std::io::copy(&mut (&mut deb).take(size % 2), &mut std::io::sink())
                .map_err(PackageFault::Disk)?;
        }
        Ok((String::from_utf8_lossy(&script).into_owned(), paths))
    }
}

fn known_suite(name: &str) -> Result<Suite, ResolveError> {
    Suite::any(name).ok_or_else(|| ResolveError::Addition {
        suite: name.to_string(),
        source: SolveError::NoSuite {
            name: name.to_string(),
        },
    })
}

fn linker_folders(arch: Arch) -> [String; 4] {
    let triplet = arch.triplet();
    [
        format!("usr/lib/{triplet}"),
        format!("lib/{triplet}"),
        "usr/lib".into(),
        "lib".into(),
    ]
}

/// The package of a file that is where the linker looks; of several the one with the shortest name.
fn in_linker_folder(files: &[FoundFile], arch: Arch) -> Option<&str> {
    let folders = linker_folders(arch);
    let there = files.iter().filter(|file| {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folders.iter().any(|one| one == folder)
    });
    there
        .map(|file| file.package.as_str())
        .min_by_key(|name| (name.len(), *name))
}

/// Searches a list of files; each line is a path, blanks, and the packages that have it with their sections.
fn search(packed: File, ends: &[&str]) -> std::io::Result<BTreeMap<String, Vec<FoundFile>>> {
    let unpacked = crate::compression::unpack("contents.gz", packed)?;
    let mut lines = BufReader::with_capacity(1 << 16, unpacked);
    let mut found: BTreeMap<String, Vec<FoundFile>> =
        ends.iter().map(|end| ((*end).to_string(), Vec::new())).collect();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut lines).take(1 << 20).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.trim_ascii_end();
        let Some(blank) = text.iter().rposition(|byte| matches!(byte, b' ' | b'\t')) else {
            continue;
        };
        let path = text[..blank].trim_ascii_end();
        for end in ends {
            let whole = path.strip_suffix(end.as_bytes());
            if !whole.is_some_and(|before| before.is_empty() || before.ends_with(b"/")) {
                continue;
            }
            let packages = String::from_utf8_lossy(&text[blank + 1..]);
            let files = packages.split(',').map(|package| FoundFile {
                package: package.rsplit('/').next().unwrap_or(package).to_string(),
                path: String::from_utf8_lossy(path).into_owned(),
            });
            found.entry((*end).to_string()).or_default().extend(files);
        }
    }
    for files in found.values_mut() {
        files.sort_by(|a, b| rank(a).cmp(&rank(b)));
        files.truncate(MOST_FOUND);
    }
    Ok(found)
}

/// What is likely meant comes first: what compilers and linkers see, not too deep.
fn rank(file: &FoundFile) -> (bool, usize, usize, &str, &str) {
    let seen = file.path.starts_with("usr/include/")
        || file.path.starts_with("usr/lib/")
        || file.path.starts_with("usr/bin/");
    (
        !seen,
        file.path.matches('/').count(),
        file.package.len(),
        &file.package,
        &file.path,
    )
}

/// The names that a library's package has by Debian's policy (section 8.1) and its habits.
fn usual_names(soname: &str) -> Vec<String> {
    let lower = soname.to_ascii_lowercase().replace('_', "-");
    let Some((stem, version)) = lower.split_once(".so") else {
        return Vec::new();
    };
    let version = version.trim_start_matches('.');
    let mut names = Vec::new();
    let digit = stem.ends_with(|c: char| c.is_ascii_digit());
    if version.is_empty() {
        // `libx-1.2.so` has its version before the ending.
        names.push(stem.to_string());
        names.push(stem.replacen('-', "", 1));
    } else {
        let joint = if digit { "-" } else { "" };
        names.push(format!("{stem}{joint}{version}"));
        names.push(format!("{stem}-{version}"));
        // `libglib-2.0.so.0` is in `libglib2.0-0`.
        if digit && let Some((name, number)) = stem.rsplit_once('-') {
            names.push(format!("{name}{number}-{version}"));
        }
    }
    let plain = names.clone();
    // Since times have 64 bits some are called otherwise.
    names.extend(plain.iter().map(|name| format!("{name}t64")));
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    #[test]
    fn names_by_the_policy() {
        for (soname, name) in [
            ("libGL.so.1", "libgl1"),
            ("libX11.so.6", "libx11-6"),
            ("libglib-2.0.so.0", "libglib2.0-0t64"),
            ("libpango-1.0.so.0", "libpango-1.0-0"),
            ("libpq.so.5", "libpq5"),
            ("libstdc++.so.6", "libstdc++6"),
            ("libxcb_x.so.0", "libxcb-x0"),
            ("libdb-5.3.so", "libdb5.3"),
        ] {
            assert!(
                usual_names(soname).iter().any(|one| one == name),
                "{soname}: {:?}",
                usual_names(soname)
            );
        }
        assert!(usual_names("module").is_empty());
    }

    #[test]
    fn a_list_is_searched() {
        let list = "usr/share/doc/a b/cairo.h   doc/x-doc\nusr/include/cairo/cairo.h\tlibdevel/libcairo2-dev\n\
                    usr/include/notcairo.h libdevel/n\nusr/lib/x86_64-linux-gnu/libz.so.1 libs/zlib1g,main/libs/other\n\
                    opt/deep/libz.so.1 x\nrubbish\n";
        let mut file = tempfile::tempfile().unwrap();
        let mut packer = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        packer.write_all(list.as_bytes()).unwrap();
        packer.finish().unwrap();
        file.rewind().unwrap();
        let found = search(file, &["cairo.h", "libz.so.1", "none"]).unwrap();
        let packages: Vec<_> = found["cairo.h"]
            .iter()
            .map(|file| file.package.as_str())
            .collect();
        assert_eq!(packages, ["libcairo2-dev", "x-doc"]);
        assert_eq!(in_linker_folder(&found["libz.so.1"], Arch::Amd64), Some("other"));
        assert!(found["none"].is_empty());
    }
}
