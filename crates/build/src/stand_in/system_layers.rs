//! The layers of a stand-in: packages unpacked and configured in a container, and what is put on top.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use coil_debian::{Arrivals, PinnedSystem, TreeLayer, keep_tree};
use coil_oci::{Descriptor, Digest, media_type};
use coil_store::Ownership;

use super::contents::{Contents, OwnFile};
use super::name::Recipe;
use super::normalise::normalise;
use super::{FORMAT, StandInError, StandInMaker, python_home};
use crate::executor::{Step, StepBind, Tail};

const BASES: &str = "stand-in-base-v1";
const ADDITIONS: &str = "stand-in-addition-v1";
const CONFIGURE_BASE: &str = include_str!("../../data/stand_in/configure-base.sh");
const ADD_PACKAGES: &str = include_str!("../../data/stand_in/add-packages.sh");
/// All scripts, for the names of records: another script may give other bytes.
pub(super) const SCRIPTS: [&str; 5] = [
    CONFIGURE_BASE,
    ADD_PACKAGES,
    python_home::FINISH,
    python_home::COMPILE,
    python_home::DISTUTILS_HOOK,
];
/// Where scripts and lists stand inside while they run.
const OWN: &str = ".coil";
/// How much of a failed script's output is shown.
const SHOWN_LINES: usize = 15;

/// Files that make apt and dpkg quick and quiet in an image, by the names that guides know and remove.
const SETTINGS: [OwnFile; 6] = [
    OwnFile {
        path: "usr/sbin/policy-rc.d",
        text: "#!/bin/sh\n# No service starts when its package is installed: an image runs nothing.\nexit 101\n",
        mode: 0o755,
    },
    OwnFile {
        path: "etc/dpkg/dpkg.cfg.d/docker-apt-speedup",
        text: "# A layer that was cut off is made again, so nothing need be synced on the way.\nforce-unsafe-io\n",
        mode: 0o644,
    },
    OwnFile {
        path: "etc/apt/apt.conf.d/docker-clean",
        text: "// Packages that were installed take no room in the layer.\n\
               DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb \
               /var/cache/apt/*.bin || true\"; };\n\
               APT::Update::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb \
               /var/cache/apt/*.bin || true\"; };\n\
               Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n",
        mode: 0o644,
    },
    OwnFile {
        path: "etc/apt/apt.conf.d/docker-no-languages",
        text: "// Translated descriptions are not fetched.\nAcquire::Languages \"none\";\n",
        mode: 0o644,
    },
    OwnFile {
        path: "etc/apt/apt.conf.d/docker-gzip-indexes",
        text: "// Indices stay packed.\nAcquire::GzipIndexes \"true\";\n",
        mode: 0o644,
    },
    OwnFile {
        path: "etc/apt/apt.conf.d/docker-autoremove-suggests",
        text: "// What is only suggested keeps nothing from being removed.\nApt::AutoRemove::SuggestsImportant \"false\";\n",
        mode: 0o644,
    },
];

/// What a slim image leaves out, as dpkg's own setting, so that later packages leave it out too.
const SLIM_SETTING: &str = "# Documentation and translations take no room; licences stay.\n\
    path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\npath-exclude /usr/share/groff/*\n\
    path-exclude /usr/share/info/*\npath-exclude /usr/share/linda/*\npath-exclude /usr/share/lintian/*\n\
    path-exclude /usr/share/locale/*\npath-include /usr/share/locale/locale.alias\npath-exclude /usr/share/man/*\n";

/// A folder that is removed in the end, whatever happens.
struct Scratch<'a> {
    maker: &'a StandInMaker<'a>,
    path: PathBuf,
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let _ = self.maker.store.remove_folder(&self.path);
    }
}

impl StandInMaker<'_> {
    /// The layers, the lowest first, each with what it holds; and how many were made now.
    pub(super) fn layers(
        &self,
        recipe: &Recipe,
        system: &PinnedSystem,
        contents: &Contents,
    ) -> Result<(Vec<(TreeLayer, String)>, usize), StandInError> {
        let what = if recipe.slim { "slim system" } else { "system" };
        let key = self.base_key(system, recipe.slim);
        let known = self.known_layer(BASES, &key);
        let addition = known
            .as_ref()
            .filter(|_| !contents.is_bare())
            .and_then(|base| self.known_layer(ADDITIONS, &self.addition_key(system, contents, base)));
        let mut wanted = Vec::new();
        if known.is_none() {
            wanted.extend(system.base_in_order());
        }
        if !contents.is_bare() && addition.is_none() {
            wanted.extend(system.added.iter().chain(&system.relocated));
        }
        if known.is_none() || !wanted.is_empty() {
            self.check_executor()?;
        }
        // What comes later is fetched while scripts run.
        self.archive
            .while_fetching_of(system, &wanted, self.progress, |arrivals| {
                let mut count = 0;
                let base = match known {
                    Some(base) => base,
                    None => {
                        count += 1;
                        let base = self.base(system, recipe.slim, arrivals)?;
                        self.record_layer(BASES, &key, &base)?;
                        base
                    }
                };
                let mut layers = vec![(base, format!("Debian {} {what}", system.suite))];
                if !contents.is_bare() {
                    let key = self.addition_key(system, contents, &layers[0].0);
                    let addition = match addition.or_else(|| self.known_layer(ADDITIONS, &key)) {
                        Some(layer) => layer,
                        None => {
                            count += 1;
                            let layer = self.addition(system, contents, &layers[0].0, arrivals)?;
                            self.record_layer(ADDITIONS, &key, &layer)?;
                            layer
                        }
                    };
                    layers.push((addition, contents.summary(system)));
                }
                Ok((layers, count))
            })
    }

    fn scratch(&self) -> Result<Scratch<'_>, StandInError> {
        let failed = || StandInError::disk("making a temporary folder");
        let path = self.store.temp_path().map_err(failed())?;
        fs::create_dir(&path).map_err(failed())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(failed())?;
        Ok(Scratch { maker: self, path })
    }

    /// The name of the record of the first layer.
    fn base_key(&self, system: &PinnedSystem, slim: bool) -> Digest {
        let mut text = format!(
            "{FORMAT} {slim} {} {CONFIGURE_BASE}{SLIM_SETTING}\n",
            self.time(system)
        );
        for file in SETTINGS {
            text.push_str(&format!("{} {}\n", file.path, file.text));
        }
        for package in &system.base {
            text.push_str(&format!("{} {}\n", package.name, package.sha256));
        }
        Digest::of(text.as_bytes())
    }

    /// The layer with what every system has.
    fn base(
        &self,
        system: &PinnedSystem,
        slim: bool,
        arrivals: &Arrivals<'_>,
    ) -> Result<TreeLayer, StandInError> {
        let scratch = self.scratch()?;
        let (tree, empty) = (scratch.path.join("tree"), scratch.path.join("empty"));
        let failed = || StandInError::disk("filling the new system");
        for folder in [&tree, &empty] {
            fs::create_dir(folder).map_err(failed())?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(failed())?;
        }
        let is_kept = |path: &str| !slim || is_in_slim(path);
        let packages = self
            .archive
            .unpack_system(system, arrivals, &tree, &is_kept, self.threads, self.progress)
            .map_err(|error| StandInError::Assemble(Box::new(error)))?;
        let fill = || -> io::Result<()> {
            for file in &SETTINGS {
                put(&tree, file)?;
            }
            if slim {
                let path = tree.join("etc/dpkg/dpkg.cfg.d/docker");
                fs::write(path, SLIM_SETTING)?;
            }
            sources(&tree, &system.suite)?;
            let own = tree.join(OWN);
            fs::create_dir(&own)?;
            let mut list = String::new();
            // These two first: all others need accounts and folders.
            let mut ordered: Vec<_> = packages.iter().filter(|package| package.has_preinst).collect();
            ordered.sort_by_key(|package| match package.name.as_str() {
                "base-passwd" => 0,
                "base-files" => 1,
                _ => 2,
            });
            for package in ordered {
                list.push_str(&format!(
                    "{} {} {} {}\n",
                    package.name, package.version, package.arch, package.file_name
                ));
            }
            fs::write(own.join("packages"), list)?;
            fs::write(own.join("run"), CONFIGURE_BASE)
        };
        fill().map_err(failed())?;
        self.progress.note("configuring Debian's packages");
        self.run(system, vec![empty], &tree, &["sh", "/.coil/run"], Vec::new())?;
        self.keep(&tree, system, true)
    }

    /// A layer that was made before, where it is still whole.
    fn known_layer(&self, kind: &str, key: &Digest) -> Option<TreeLayer> {
        let layer: TreeLayer = serde_json::from_slice(&self.store.cache_get(kind, key.hex())?).ok()?;
        self.store.has_blob(&layer.blob).then_some(layer)
    }

    fn record_layer(&self, kind: &str, key: &Digest, layer: &TreeLayer) -> Result<(), StandInError> {
        let record = serde_json::to_vec(layer).unwrap_or_default();
        let kept = self.store.cache_put(kind, key.hex(), &record);
        kept.map_err(StandInError::disk("keeping a record of the system"))
    }

    /// The name of the record of the second layer: several names of images may share it.
    fn addition_key(&self, system: &PinnedSystem, contents: &Contents, base: &TreeLayer) -> Digest {
        let mut text = format!(
            "{FORMAT} {} {} {}\n",
            self.time(system),
            base.diff_id,
            contents.identity()
        );
        for (place, packages) in [("added", &system.added), ("relocated", &system.relocated)] {
            for package in packages {
                text.push_str(&format!("{place} {} {}\n", package.name, package.sha256));
            }
        }
        Digest::of(text.as_bytes())
    }

    /// The layer with what the image is for.
    fn addition(
        &self,
        system: &PinnedSystem,
        contents: &Contents,
        base: &TreeLayer,
        arrivals: &Arrivals<'_>,
    ) -> Result<TreeLayer, StandInError> {
        let failed = || StandInError::disk("filling the image");
        let blob = Descriptor::new(media_type::LAYER_GZIP, base.blob.clone(), base.size);
        let lower = self
            .store
            .ensure_snapshot(&base.diff_id, &blob, Ownership::Layer)?;
        let scratch = self.scratch()?;
        let upper = scratch.path.join("upper");
        fs::create_dir(&upper).map_err(failed())?;
        fs::set_permissions(&upper, fs::Permissions::from_mode(0o755)).map_err(failed())?;
        let debs = self
            .archive
            .in_order(system, arrivals, &system.added)
            .map_err(|error| StandInError::Assemble(Box::new(error)))?;
        let own = upper.join(OWN);
        let inside = "/.coil/debs";
        let fill = || -> io::Result<()> {
            fs::create_dir(&own)?;
            let mut list = String::new();
            for (path, wants_configured) in &debs {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if *wants_configured {
                    list.push_str("configure\n");
                }
                list.push_str(&format!("{inside}/{name}\n"));
            }
            fs::write(own.join("packages"), list)?;
            for file in &contents.given {
                put(&own, file)?;
            }
            for (name, script) in [("before", contents.before), ("after", contents.after)] {
                if let Some(text) = script {
                    let (path, mode) = (name, 0o755);
                    put(&own, &OwnFile { path, text, mode })?;
                }
            }
            fs::write(own.join("run"), ADD_PACKAGES)
        };
        fill().map_err(failed())?;
        let mut binds = Vec::new();
        if let Some(folder) = debs.first().and_then(|(path, _)| path.parent()) {
            self.progress
                .note(&format!("installing {} more packages", debs.len()));
            binds.push(StepBind {
                source: folder.to_owned(),
                target: inside.into(),
                read_only: true,
            });
        }
        self.run(system, vec![lower.clone()], &upper, &["sh", "/.coil/run"], binds)?;
        for file in &contents.files {
            put(&upper, file).map_err(failed())?;
        }
        if let Some(minor) = contents.python {
            self.progress.note("putting Python into /usr/local");
            let wheels = python_home::fill(self, system, arrivals, minor, &upper)?;
            let mut words = vec!["sh", "/.coil/finish", minor];
            words.extend(wheels);
            self.run(system, vec![lower], &upper, &words, Vec::new())?;
        }
        self.keep(&upper, system, false)
    }

    /// Makes a layer of a folder, without what time and chance left in it.
    fn keep(&self, folder: &Path, system: &PinnedSystem, is_base: bool) -> Result<TreeLayer, StandInError> {
        self.progress.note("writing the layer");
        normalise(folder, self.time(system), is_base)
            .map_err(StandInError::disk("clearing up the new system"))?;
        keep_tree(self.store, folder, self.time(system), self.threads)
            .map_err(StandInError::disk("writing the layer"))
    }

    fn check_executor(&self) -> Result<(), StandInError> {
        let reason = match self.executor {
            None => Some("no container can be made here".to_owned()),
            Some(executor) => executor.refusal(self.arch),
        };
        let reason = reason.or_else(|| {
            (!self.is_root).then(|| {
                "they give files to other users, and an ordinary user's containers have one id here"
                    .to_owned()
            })
        });
        match reason {
            Some(reason) => Err(StandInError::NoContainer { reason }),
            None => Ok(()),
        }
    }

    /// Runs a script in the new system, with no network.
    fn run(
        &self,
        system: &PinnedSystem,
        lower: Vec<PathBuf>,
        upper: &Path,
        words: &[&str],
        binds: Vec<StepBind>,
    ) -> Result<(), StandInError> {
        let Some(executor) = self.executor else {
            return Ok(());
        };
        let argv = words.iter().map(ToString::to_string).collect();
        let mut step = Step::new(self.arch, lower, upper.to_owned(), argv);
        step.binds = binds;
        for (name, value) in [
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("LC_ALL", "C.UTF-8"),
            ("HOME", "/root"),
            ("TZ", "UTC"),
        ] {
            step.env.insert(name.into(), value.into());
        }
        let tail = Tail::default();
        let end = executor.run(&step, &mut |printed| tail.push(printed));
        let end = end.map_err(StandInError::Step)?;
        if end.is_success() {
            return Ok(());
        }
        let lines = tail.lines(usize::MAX);
        let (what, output) = told(&lines, system);
        Err(StandInError::Script {
            what,
            code: end.code,
            output,
        })
    }
}

/// What failed, and what was printed around it, with the packages' names in place of their files'.
fn told(lines: &[String], system: &PinnedSystem) -> (String, Vec<String>) {
    let named = |line: &String| {
        let mut line = line.replace("/.coil/debs/", "");
        if line.contains(".deb") {
            for package in system.packages() {
                line = line.replace(&format!("{}.deb", package.sha256.hex()), &package.name);
            }
        }
        line
    };
    const ERROR: &str = "dpkg: error processing ";
    // The first is the cause of the others.
    let failed = lines.iter().position(|line| line.starts_with(ERROR));
    let package = failed.map(|at| {
        let line = named(&lines[at]);
        let rest = line.strip_prefix(ERROR).unwrap_or_default();
        let name = rest.trim_start_matches("package ").trim_start_matches("archive ");
        name.split([' ', ':']).next().unwrap_or_default().to_owned()
    });
    let preparing = || {
        let mut prepared = lines.iter().rev();
        prepared.find_map(|line| Some(line.strip_prefix("coil: preparing ")?.to_owned()))
    };
    let what = match package.or_else(preparing) {
        Some(package) => format!("the scripts of the Debian package `{package}`"),
        None => "the configuration of the new system".to_owned(),
    };
    let end = failed.map_or(lines.len(), |at| (at + 3).min(lines.len()));
    let shown = lines[end.saturating_sub(SHOWN_LINES)..end].iter().map(named);
    (what, shown.collect())
}

/// Whether a path is unpacked into a slim system: the same that [`SLIM_SETTING`] says.
fn is_in_slim(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("usr/share/") else {
        return true;
    };
    let (folder, below) = rest.split_once('/').unwrap_or((rest, ""));
    match folder {
        "doc" => below.is_empty() || (below.ends_with("/copyright") && below.matches('/').count() == 1),
        "groff" | "info" | "linda" | "lintian" | "man" => below.is_empty(),
        "locale" => below.is_empty() || below == "locale.alias",
        _ => true,
    }
}

pub(super) fn put(folder: &Path, file: &OwnFile) -> io::Result<()> {
    let path = folder.join(file.path);
    if let Some(above) = path.parent()
        && !above.is_dir()
    {
        fs::create_dir_all(above)?;
    }
    let mut out = fs::File::create(&path)?;
    out.write_all(file.text.as_bytes())?;
    out.set_permissions(fs::Permissions::from_mode(file.mode))
}

/// Debian's public mirrors: where the packages came from here is this machine's own affair.
fn sources(tree: &Path, suite: &str) -> io::Result<()> {
    let keyring = ["pgp", "gpg"]
        .into_iter()
        .map(|ending| format!("usr/share/keyrings/debian-archive-keyring.{ending}"))
        .find(|path| tree.join(path).symlink_metadata().is_ok());
    let keyring = keyring.unwrap_or_else(|| "usr/share/keyrings/debian-archive-keyring.gpg".into());
    let mut text = String::new();
    let mut part = |uri: &str, suites: String| {
        text.push_str(&format!(
            "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\nSigned-By: /{keyring}\n"
        ));
    };
    if suite == "sid" {
        part(coil_debian::PUBLIC_MIRROR, suite.to_owned());
    } else {
        part(coil_debian::PUBLIC_MIRROR, format!("{suite} {suite}-updates"));
        part(coil_debian::PUBLIC_SECURITY_MIRROR, format!("{suite}-security"));
        text = text.replacen("\nTypes: deb", "\n\nTypes: deb", 1);
    }
    let path = tree.join("etc/apt/sources.list.d/debian.sources");
    if let Some(above) = path.parent() {
        fs::create_dir_all(above)?;
    }
    fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coil_debian::PinnedPackage;

    #[test]
    fn the_first_package_that_failed_is_named() {
        let package = PinnedPackage {
            name: "python3".into(),
            version: "1".into(),
            arch: "amd64".into(),
            archive: "debian".into(),
            filename: "pool/p.deb".into(),
            size: 1,
            sha256: Digest::of(b"x"),
        };
        let hex = package.sha256.hex().to_owned();
        let system = PinnedSystem {
            suite: "bookworm".into(),
            arch: "amd64".into(),
            date: String::new(),
            published: 0,
            release: Digest::of(b""),
            base: Vec::new(),
            added: vec![package],
            relocated: Vec::new(),
        };
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let printed = format!(
            "Unpacking a\ndpkg: error processing archive /.coil/debs/{hex}.deb (--unpack):\n because\nmore\neven more"
        );
        let (what, output) = told(&lines(&printed), &system);
        assert_eq!(what, "the scripts of the Debian package `python3`");
        assert_eq!(
            output,
            [
                "Unpacking a",
                "dpkg: error processing archive python3 (--unpack):",
                " because",
                "more"
            ]
        );
        let printed = "no\ndpkg: error processing package bad:amd64 (--configure):\n it said no";
        assert_eq!(
            told(&lines(printed), &system).0,
            "the scripts of the Debian package `bad`"
        );
        let (what, output) = told(&lines("coil: preparing base-files\nsh: no"), &system);
        assert_eq!(what, "the scripts of the Debian package `base-files`");
        assert_eq!(output.len(), 2);
        assert_eq!(told(&[], &system).0, "the configuration of the new system");
    }

    #[test]
    fn slim_leaves_out_what_dpkg_would() {
        for (path, kept) in [
            ("usr/share/man/man1/ls.1.gz", false),
            ("usr/share/man", true),
            ("usr/share/doc/a/copyright", true),
            ("usr/share/doc/a/b/copyright", false),
            ("usr/share/doc/a", false),
            ("usr/share/locale/de/x.mo", false),
            ("usr/share/locale/locale.alias", true),
            ("usr/bin/man", true),
        ] {
            assert_eq!(is_in_slim(path), kept, "{path}");
        }
    }
}
