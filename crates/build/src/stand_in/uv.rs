//! uv's own images, made of its wheel: guides copy the program out of one, or begin with one that has a Python below it.
//!
//! The wheel for musl is taken, whose programs need no library, as the program in uv's own images.

use std::collections::BTreeMap;

use coil_debian::PinnedSystem;
use coil_fetch::Fetcher;
use coil_oci::tar::Entry;
use coil_oci::{
    Arch, ContainerConfig, Descriptor, Digest, History, ImageConfig, Platform, Reference, RootFs, media_type,
    timestamp,
};
use coil_store::Image;
use coil_wheel::archive::{Archive, Inflater};
use coil_wheel::download::{DownloadOptions, FetchedWheel, WheelRequest, download};
use coil_wheel::index::{IndexClient, IndexFile, Newest};
use serde::{Deserialize, Serialize};

use super::name::{NameError, Recipe, recipe};
use super::{Known, StandInError, StandInMaker, StandInRequest, label};
use crate::layer_writer::{Layer, LayerWriter};

/// Raised when the same wheel gives other bytes than before.
const FORMAT: u32 = 1;
const IMAGES: &str = "stand-in-uv-v1";
/// Where uv's images are published.
const REPOSITORIES: [(&str, &str); 2] = [("ghcr.io", "astral-sh/uv"), ("docker.io", "astral/uv")];
/// Both programs, and what they do to an image that has nothing else.
const PROGRAMS: [&str; 2] = ["uv", "uvx"];

/// What an image of uv is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UvRecipe {
    /// The version, or the first numbers of one; the newest where none is asked for.
    pub version: Option<String>,
    /// The image below the program and what it is made of; none where there is nothing but the program.
    pub below: Option<(Reference, Recipe)>,
    /// What was taken in place of what was asked for.
    pub nearest: Vec<String>,
}

/// An image of uv in the store, without a name yet.
#[derive(Debug, Clone)]
pub struct UvStandIn {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// uv's version.
    pub version: String,
    /// The packages below it.
    pub system: Option<PinnedSystem>,
    /// What was taken in place of what was asked for.
    pub nearest: Vec<String>,
}

/// What a name of uv's images asks for; none for any other name.
///
/// # Errors
/// When there is no stand-in for the system below the program.
pub fn uv_recipe(name: &Reference, nearest: bool) -> Option<Result<UvRecipe, NameError>> {
    let place = (name.registry(), name.repository());
    REPOSITORIES.contains(&place).then(|| read(name, nearest))
}

/// What a stand-in of a name would be made of, for people; none where there can't be one.
pub fn made_of(name: &Reference) -> Option<&'static str> {
    match uv_recipe(name, false) {
        Some(uv) => uv.is_ok().then_some("uv's wheel"),
        None => recipe(name, false).is_ok().then_some("Debian's packages"),
    }
}

fn read(name: &Reference, nearest: bool) -> Result<UvRecipe, NameError> {
    if name.digest().is_some() {
        return Err(NameError {
            message: format!("{} names exact bytes, which only a registry has", name.familiar()),
            help: "leave the digest away".into(),
        });
    }
    let mut words: Vec<&str> = name.tag().unwrap_or("latest").split('-').collect();
    words.retain(|word| *word != "latest");
    let is_version = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    let version = words.first().copied().filter(is_version).map(str::to_owned);
    if version.is_some() {
        words.remove(0);
    }
    let Some((first, rest)) = words.split_first() else {
        return Ok(UvRecipe {
            version,
            below: None,
            nearest: Vec::new(),
        });
    };
    // `python3.11-bookworm-slim` is made on `python:3.11-bookworm-slim`.
    let text = match first.strip_prefix("python") {
        Some(python) => format!("python:{}", [&[python], rest].concat().join("-")),
        None if *first == "debian" => format!("debian:{}", [&["stable"], rest].concat().join("-")),
        None if first.starts_with("alpine") => "python:alpine".to_owned(),
        None => format!("debian:{}", words.join("-")),
    };
    let unknown = |reason: String| NameError {
        message: format!("no stand-in can be made for {}: {reason}", name.familiar()),
        help: "for example ghcr.io/astral-sh/uv:latest, or ghcr.io/astral-sh/uv:python3.13-trixie-slim"
            .into(),
    };
    let reference = Reference::parse(&text).map_err(|_| unknown(format!("its tag asks for `{text}`")))?;
    let below = recipe(&reference, nearest).map_err(|error| NameError {
        message: format!(
            "no stand-in can be made for {}: {}",
            name.familiar(),
            error.message
        ),
        help: error.help,
    })?;
    Ok(UvRecipe {
        version,
        nearest: below.nearest.clone(),
        below: Some((reference, below)),
    })
}

/// What is kept of an image that was made before.
#[derive(Serialize, Deserialize)]
struct Made {
    image: Known,
    version: String,
}

impl StandInMaker<'_> {
    /// The version of uv that a recipe means today.
    ///
    /// # Errors
    /// When the index has none such, or can't be asked.
    pub fn newest_uv(&self, recipe: &UvRecipe, index: &IndexClient<'_>) -> Result<Newest, StandInError> {
        index
            .newest("uv", recipe.version.as_deref())
            .map_err(|error| StandInError::Index(Box::new(error)))
    }

    /// Makes an image of uv, or finds the one that was made of the same wheel and packages.
    ///
    /// # Errors
    /// See [`StandInError`]; nothing is kept of what was half made.
    pub fn make_uv(
        &self,
        name: &Reference,
        recipe: &UvRecipe,
        index: &IndexClient<'_>,
        fetcher: &Fetcher,
    ) -> Result<UvStandIn, StandInError> {
        let newest = self.newest_uv(recipe, index)?;
        let file = wheel_for(&newest.files, self.arch).ok_or_else(|| {
            StandInError::Name(NameError {
                message: format!(
                    "the index has no wheel of uv {} for musl on {}",
                    newest.version, self.arch
                ),
                help: "name another version in the tag: ghcr.io/astral-sh/uv:VERSION".into(),
            })
        })?;
        let wheel = self.wheel(&newest.version, file, index, fetcher)?;
        let below = match &recipe.below {
            Some((reference, recipe)) => Some(self.make(&StandInRequest {
                name: reference.clone(),
                recipe: recipe.clone(),
                pinned: None,
            })?),
            None => None,
        };
        let below_digest = below.as_ref().map(|below| below.descriptor.digest.to_string());
        let created = self.epoch.or_else(|| uploaded(file)).unwrap_or(0);
        let key = format!(
            "{FORMAT} {} {} {below_digest:?} {created}",
            name.canonical(),
            wheel.sha256
        );
        let key = Digest::of(key.as_bytes());
        let stand_in = |descriptor| UvStandIn {
            descriptor,
            version: newest.version.clone(),
            system: below.as_ref().map(|below| below.system.clone()),
            nearest: recipe.nearest.clone(),
        };
        let known = self.store.cache_get(IMAGES, key.hex());
        let known = known.and_then(|bytes| serde_json::from_slice::<Made>(&bytes).ok());
        if let Some(descriptor) = known.and_then(|made| self.found(made.image)) {
            return Ok(stand_in(descriptor));
        }
        self.progress.note("writing the layer");
        let layer = self.programs_layer(&wheel, &newest.version, below.is_some(), created)?;
        let image = match &below {
            Some(below) => Some(self.store.image_of(&below.descriptor)?),
            None => None,
        };
        let descriptor = self
            .uv_image(name, &newest.version, image, layer, created)
            .map_err(StandInError::disk("writing the image"))?;
        let made = Made {
            image: Known {
                manifest: descriptor.digest.clone(),
                size: descriptor.size,
            },
            version: newest.version.clone(),
        };
        self.store
            .cache_put(IMAGES, key.hex(), &serde_json::to_vec(&made).unwrap_or_default())
            .map_err(StandInError::disk("keeping a record of the image"))?;
        Ok(stand_in(descriptor))
    }

    fn wheel(
        &self,
        version: &str,
        file: &IndexFile,
        index: &IndexClient<'_>,
        fetcher: &Fetcher,
    ) -> Result<FetchedWheel, StandInError> {
        let request = WheelRequest {
            name: "uv".into(),
            version: version.to_owned(),
            filename: file.filename.clone(),
            url: Some(file.url.clone()),
            sha256: file.sha256.clone(),
            size: file.size,
            hashes: file.hashes.clone(),
            index: None,
        };
        let options = DownloadOptions {
            threads: 1,
            verify: true,
        };
        let fetched = download(self.store, fetcher, index, &[request], options, self.progress);
        let mut fetched = fetched.map_err(|error| StandInError::Download(Box::new(error)))?;
        fetched.pop().ok_or_else(|| {
            StandInError::Name(NameError {
                message: format!("{} was not downloaded", file.filename),
                help: "run it again".into(),
            })
        })
    }

    /// The layer with both programs.
    fn programs_layer(
        &self,
        wheel: &FetchedWheel,
        version: &str,
        has_system: bool,
        time: u64,
    ) -> Result<Layer, StandInError> {
        let unreadable = |error| StandInError::Wheel(Box::new(error));
        let archive = Archive::open(&wheel.path).map_err(unreadable)?;
        let disk = || StandInError::disk("writing a layer");
        let mut layer = LayerWriter::new(self.store).map_err(disk())?;
        let folder = if has_system { "usr/local/bin/" } else { "" };
        if has_system {
            for folder in ["usr", "usr/local", "usr/local/bin"] {
                layer.entry(&Entry::directory(folder, time)).map_err(disk())?;
            }
        } else {
            layer.entry(&Entry::directory("io", time)).map_err(disk())?;
        }
        for program in PROGRAMS {
            let path = format!("uv-{version}.data/scripts/{program}");
            let entry = archive.find(&path).ok_or_else(|| StandInError::Unknown {
                path: wheel.filename.clone(),
                missing: path.clone(),
            })?;
            let header = Entry::file(format!("{folder}{program}"), entry.size, 0o755, time);
            layer.entry(&header).map_err(disk())?;
            archive
                .stream(entry, &mut Inflater::new(), &mut |_, plain| layer.data(plain))
                .map_err(unreadable)?;
        }
        layer.finish().map_err(disk())
    }

    fn uv_image(
        &self,
        name: &Reference,
        version: &str,
        below: Option<Image>,
        layer: Layer,
        created: u64,
    ) -> std::io::Result<Descriptor> {
        let created = timestamp::seconds(created);
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let has_system = below.is_some();
        let (mut config, mut layers) = match below {
            Some(image) => (image.config, image.manifest.layers),
            None => (nothing(self.arch), Vec::new()),
        };
        let container = &mut config.config;
        let mut made_of = format!("uv {version} of the package index");
        if let Some(system) = container.labels.get(label::MADE_OF) {
            made_of = format!("{made_of} and {system}");
        }
        if has_system {
            container.env.push("UV_TOOL_BIN_DIR=/usr/local/bin".into());
            container.entrypoint = Vec::new();
            container.cmd = words(&["/usr/local/bin/uv"]);
        } else {
            container.entrypoint = words(&["/uv"]);
            container.working_dir = "/io".into();
        }
        container
            .labels
            .insert(label::STANDS_IN_FOR.into(), name.familiar());
        container.labels.insert(label::MADE_OF.into(), made_of);
        container.labels.insert(label::UV.into(), version.to_owned());
        config.created = Some(created.clone());
        config.rootfs.diff_ids.push(layer.diff_id.clone());
        config.history.push(History {
            created: Some(created),
            created_by: Some(format!("coil base: uv {version}")),
            ..History::default()
        });
        self.store.note_layer_size(&layer.diff_id, layer.unpacked)?;
        layers.push(Descriptor::new(media_type::LAYER_GZIP, layer.digest, layer.size));
        let (mut descriptor, _) = self.store.put_image(&config, layers, BTreeMap::new())?;
        descriptor.platform = Some(Platform::linux(self.arch));
        Ok(descriptor)
    }
}

/// The configuration of an image that has nothing.
fn nothing(arch: Arch) -> ImageConfig {
    ImageConfig {
        created: None,
        author: None,
        architecture: arch.name().into(),
        variant: None,
        os: "linux".into(),
        config: ContainerConfig {
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            ..ContainerConfig::default()
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: Vec::new(),
        },
        history: Vec::new(),
        other: BTreeMap::new(),
    }
}

/// The wheel whose programs run on any Linux of an architecture.
fn wheel_for(files: &[IndexFile], arch: Arch) -> Option<&IndexFile> {
    files.iter().find(|file| {
        let platforms = file
            .filename
            .strip_suffix(".whl")
            .and_then(|stem| stem.rsplit('-').next());
        let mut platforms = platforms.unwrap_or_default().split('.');
        platforms.any(|platform| platform.starts_with("musllinux_") && platform.ends_with(arch.machine()))
    })
}

/// When a file was uploaded, in seconds since 1970, where the index tells.
fn uploaded(file: &IndexFile) -> Option<u64> {
    let time = timestamp::parse(file.upload_time.as_deref()?)?;
    Some(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, nearest: bool) -> String {
        match uv_recipe(&Reference::parse(name).unwrap(), nearest) {
            None => "another image".into(),
            Some(Err(error)) => error.message,
            Some(Ok(recipe)) => {
                let version = recipe.version.unwrap_or_else(|| "newest".into());
                let below = recipe.below.map_or_else(String::new, |(reference, recipe)| {
                    format!(" on {} ({})", reference.familiar(), recipe.suite.name)
                });
                format!("{version}{below}")
            }
        }
    }

    #[test]
    fn names_of_uvs_images() {
        for (name, expected) in [
            ("ghcr.io/astral-sh/uv", "newest"),
            ("ghcr.io/astral-sh/uv:latest", "newest"),
            ("astral/uv:0.9.5", "0.9.5"),
            ("ghcr.io/astral-sh/uv:0.9", "0.9"),
            (
                "ghcr.io/astral-sh/uv:python3.11-bookworm-slim",
                "newest on python:3.11-bookworm-slim (bookworm)",
            ),
            (
                "ghcr.io/astral-sh/uv:0.9.5-python3.13-trixie",
                "0.9.5 on python:3.13-trixie (trixie)",
            ),
            (
                "ghcr.io/astral-sh/uv:debian-slim",
                "newest on debian:stable-slim (trixie)",
            ),
            (
                "ghcr.io/astral-sh/uv:bookworm-slim",
                "newest on debian:bookworm-slim (bookworm)",
            ),
            ("ghcr.io/astral-sh/ruff", "another image"),
            ("astral-sh/uv", "another image"),
        ] {
            assert_eq!(asked(name, false), expected, "{name}");
        }
        for (name, part) in [
            (
                "ghcr.io/astral-sh/uv:python3.12-bookworm-slim",
                "Debian bookworm has no Python 3.12",
            ),
            ("ghcr.io/astral-sh/uv:alpine", "Alpine has another C library"),
            ("ghcr.io/astral-sh/uv:nonsense", "`nonsense` is no part"),
        ] {
            let message = asked(name, false);
            assert!(message.contains(part), "{name}: {message}");
        }
        assert!(asked("ghcr.io/astral-sh/uv:python3.12-bookworm-slim", true).contains("bookworm"));
    }

    #[test]
    fn the_wheel_is_one_that_needs_no_library() {
        let file = |filename: &str| IndexFile {
            filename: filename.into(),
            ..IndexFile::default()
        };
        let files = [
            file("uv-0.9.5.tar.gz"),
            file("uv-0.9.5-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
            file("uv-0.9.5-py3-none-musllinux_1_1_i686.whl"),
            file("uv-0.9.5-py3-none-musllinux_1_1_x86_64.whl"),
            file("uv-0.9.5-py3-none-manylinux_2_17_aarch64.musllinux_1_1_aarch64.whl"),
        ];
        for (arch, number) in [(Arch::Amd64, 3), (Arch::Arm64, 4)] {
            assert_eq!(wheel_for(&files, arch), Some(&files[number]));
        }
    }
}
