//! `coil pack`: a project becomes an image, with no container and no daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use coil_oci::{Descriptor, Digest, Index, Reference, timestamp};
use coil_plan::LayerKind;
use coil_python::{
    CommandSetting, Diagnostic, IgnoreRules, Project, ProjectFiles, PyProject, StartSearch, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::app_layer::{AppCompiler, AppOptions, Attempt, app_layer};
use crate::app_tree::{AppTree, Selection, scan};
use crate::disk_files::DiskFiles;
use crate::error::PackError;
use crate::image_config::{ImageLayer, RunSettings, write_image};
use crate::import_check;
use crate::layer_writer::Layer;
use crate::planning::{Planned, PlannedPlatform};
use crate::recorder::{Reads, Recorder};
use crate::request::{Chosen, LayerReport, PackRequest, Packed, PackedImage, Packer};

/// Whom packed images run as, and own the app's files: nobody's id on the host, the first ordinary one inside.
const USER: &str = "1000:1000";
const OWNER: (u32, u32) = (1000, 1000);
/// Records of start commands.
const STARTS: &str = "start-command-v1";
/// How often a project that changes under our hands is read again.
const ATTEMPTS: usize = 5;

/// The part of a start command that an image needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Start {
    argv: Vec<String>,
    port: Option<u16>,
    env: std::collections::BTreeMap<String, String>,
    found_in: String,
    notes: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct StartRecord {
    reads: Reads,
    start: Start,
}

/// Ships what the rules don't leave out, and remembers what looks like a secret.
struct Shipping<'a> {
    rules: &'a IgnoreRules,
    root: &'a Path,
    secrets: std::cell::RefCell<BTreeSet<String>>,
}

impl Selection for Shipping<'_> {
    fn skips_folder(&self, path: &str) -> bool {
        self.rules.can_skip_dir(path)
            || self
                .rules
                .is_environment_left_out(path, self.root.join(path).join("pyvenv.cfg").is_file())
    }

    fn ships(&self, path: &str) -> bool {
        // The lock says how the image was made; in the image it would change it.
        if path == crate::lock_file::NAME {
            return false;
        }
        match self.rules.verdict(path) {
            Verdict::Ship => true,
            Verdict::Leave(_) => false,
            Verdict::SecretLike(reason) => {
                self.secrets
                    .borrow_mut()
                    .insert(format!("{path} goes into the image, and looks like {reason}"));
                true
            }
        }
    }
}

impl Packer<'_> {
    /// Packs a project; the image is in the store then, and has no name yet.
    ///
    /// # Errors
    /// See [`PackError`]; nothing but cached parts is left then.
    pub fn pack(&self, request: &PackRequest) -> Result<Packed, PackError> {
        let folder = |source| PackError::Folder {
            path: request.dir.clone(),
            source,
        };
        if !fs::metadata(&request.dir).map_err(folder)?.is_dir() {
            return Err(folder(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        fs::read_dir(&request.dir).map_err(folder)?;
        let _lease = self.store.lease().map_err(PackError::disk("locking the store"))?;
        // A workspace's member is packed as if its own folder had been named: its files are the app, and its lock is found above it.
        let member = Project::member(&DiskFiles::new(&request.dir), &request.wishes)?;
        let request = &match member {
            None => request.clone(),
            Some(path) => PackRequest {
                dir: request.dir.join(path),
                ..request.clone()
            },
        };
        if !request.dir.is_dir() {
            return Err(PackError::Folder {
                path: request.dir.clone(),
                source: io::Error::from(io::ErrorKind::NotFound),
            });
        }
        let files = DiskFiles::new(&request.dir);
        let (planned, lock) = self.planned(request, &files)?;
        let mut notes = planned.notes.clone();
        let start = self.start_command(request, &planned, &files)?;
        notes.extend(start.notes.iter().cloned());
        let run = run_settings(request, &planned, &start)?;
        let rules = planned.ignore_rules(&files)?;
        let mut tree = self.scan(&request.dir, &rules, &mut notes)?;
        if let Some(importable) = planned.platforms.iter().find_map(|one| one.importable.as_ref()) {
            notes.extend(import_check::check(self.store, &tree, importable));
        }
        let mut images = Vec::new();
        let mut descriptors = Vec::new();
        for platform in &planned.platforms {
            let (layer, scanned) = self.app(request, &planned, platform, tree, &rules)?;
            tree = scanned;
            let layers = image_layers(platform, layer);
            let created = timestamp::seconds(request.epoch);
            let descriptor = write_image(self.store, &platform.base, &layers, &run, &created)
                .map_err(PackError::disk("writing the image"))?;
            if let Some(app) = layers.last() {
                self.keep_bills(&planned, platform, &app.layer.diff_id, &descriptor, &created)?;
            }
            images.push(report(
                self,
                &planned,
                platform,
                &layers,
                &run,
                &start,
                &descriptor,
            )?);
            descriptors.push(descriptor);
        }
        let descriptor = self.gather(descriptors)?;
        // Last, so that a pack that fails leaves the project as it was.
        notes.extend(lock.and_then(|lock| lock.write(&files)));
        let default_name = Reference::parse(&planned.name).map_err(|error| PackError::Setting {
            message: error.to_string(),
            help: Some("give a name with -t".into()),
        })?;
        Ok(Packed {
            descriptor,
            default_name,
            images,
            notes,
        })
    }

    /// One image as it is, several as an index.
    fn gather(&self, mut descriptors: Vec<Descriptor>) -> Result<Descriptor, PackError> {
        if descriptors.len() == 1 {
            let mut only = descriptors.remove(0);
            only.platform = None;
            return Ok(only);
        }
        descriptors.sort_by_key(|descriptor| descriptor.platform.as_ref().map(ToString::to_string));
        self.store
            .put_index(&Index::new(descriptors))
            .map_err(PackError::disk("writing the index"))
    }

    fn scan(&self, dir: &Path, rules: &IgnoreRules, notes: &mut Vec<String>) -> Result<AppTree, PackError> {
        let shipping = Shipping {
            rules,
            root: dir,
            secrets: BTreeSet::new().into(),
        };
        let tree =
            scan(self.store, dir, &shipping).map_err(|(path, source)| PackError::Read { path, source })?;
        notes.extend(shipping.secrets.into_inner());
        notes.extend(tree.notes.iter().cloned());
        Ok(tree)
    }

    /// The app's layer; a project that changed meanwhile is read again.
    fn app(
        &self,
        request: &PackRequest,
        planned: &Planned,
        platform: &PlannedPlatform,
        tree: AppTree,
        rules: &IgnoreRules,
    ) -> Result<(Layer, AppTree), PackError> {
        let Some(compiler) = &platform.base.compiler else {
            return self.app_with(request, planned, platform, tree, rules, None);
        };
        self.with_interpreter(compiler, |interpreter| {
            let compiler = (compiler.version.as_str(), compiler.identity.as_str(), interpreter);
            self.app_with(request, planned, platform, tree, rules, Some(compiler))
        })
    }

    fn app_with(
        &self,
        request: &PackRequest,
        planned: &Planned,
        platform: &PlannedPlatform,
        mut tree: AppTree,
        rules: &IgnoreRules,
        compiler: Option<AppCompiler<'_>>,
    ) -> Result<(Layer, AppTree), PackError> {
        let environment = platform.base.environment();
        let mut changed = request.dir.clone();
        for _ in 0..ATTEMPTS {
            let options = AppOptions {
                environment: &environment,
                compiler,
                installed: &planned.installed,
                owner: platform.base.owner.unwrap_or(OWNER),
                epoch: request.epoch,
                threads: self.threads,
            };
            match app_layer(self.store, &tree, &options)? {
                Attempt::Done(layer) => return Ok((layer, tree)),
                Attempt::Changed(path) => changed = path,
            }
            tree = self.scan(&request.dir, rules, &mut Vec::new())?;
        }
        Err(PackError::Changing(changed))
    }

    /// Finds the start command, or takes what was found in the same files before.
    fn start_command(
        &self,
        request: &PackRequest,
        planned: &Planned,
        files: &dyn ProjectFiles,
    ) -> Result<Start, PackError> {
        let packages: Vec<&str> = planned
            .packages
            .iter()
            .map(|package| package.name.as_ref())
            .collect();
        let settings = format!(
            "1 {} {:?} {:?} {:?} {packages:?}",
            env!("CARGO_PKG_VERSION"),
            request.dir,
            request.command,
            request.ports
        );
        let key = Digest::of(settings.as_bytes());
        if let Some(bytes) = self.store.cache_get(STARTS, key.hex())
            && let Ok(record) = serde_json::from_slice::<StartRecord>(&bytes)
            && record.reads.still_hold(files)
        {
            return Ok(record.start);
        }
        let recorder = Recorder::new(files);
        let text = recorder.read_text("pyproject.toml").map_err(Diagnostic::from)?;
        let pyproject = text
            .map(|text| PyProject::parse("pyproject.toml", &text))
            .transpose()?;
        let mut search = StartSearch::new(&recorder, pyproject.as_ref(), &planned.packages);
        search.given = request
            .command
            .clone()
            .map(|command: CommandSetting| (command, "--command".to_owned()));
        if let Some(port) = request.ports.iter().find_map(|port| tcp_port(port)) {
            search.port = Some(port);
        }
        let found = search.find()?;
        drop(search);
        let start = Start {
            argv: found.argv,
            port: found.port,
            env: found.env,
            found_in: found.found_in,
            notes: found.notes,
        };
        let record = StartRecord {
            reads: recorder.finish(),
            start,
        };
        if let Ok(bytes) = serde_json::to_vec(&record) {
            self.store
                .cache_put(STARTS, key.hex(), &bytes)
                .map_err(PackError::disk("keeping a start command"))?;
        }
        Ok(record.start)
    }
}

fn tcp_port(text: &str) -> Option<u16> {
    text.strip_suffix("/tcp").unwrap_or(text).parse().ok()
}

/// `8000` as `8000/tcp`.
fn port_text(text: &str) -> Result<String, PackError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (number.parse::<u16>(), protocol) {
        (Ok(number @ 1..), "tcp" | "udp") => Ok(format!("{number}/{protocol}")),
        _ => Err(PackError::Setting {
            message: format!("`{text}` is no port"),
            help: Some("give a number from 1 to 65535, with /tcp or /udp behind it if need be".into()),
        }),
    }
}

fn run_settings(request: &PackRequest, planned: &Planned, start: &Start) -> Result<RunSettings, PackError> {
    let settings = &planned.settings;
    let mut env = start.env.clone();
    env.extend(settings.env.clone());
    env.extend(request.env.clone());
    let mut labels = settings.labels.clone();
    labels.extend(request.labels.clone());
    let mut ports = BTreeSet::new();
    for port in if request.ports.is_empty() {
        &settings.ports
    } else {
        &request.ports
    } {
        ports.insert(port_text(port)?);
    }
    if ports.is_empty() {
        ports.extend(start.port.map(|port| format!("{port}/tcp")));
    }
    let base = planned.platforms.first().map(|platform| &platform.base);
    let own = base.map(|base| &base.config.user).filter(|user| !user.is_empty());
    let (user, user_reason) = match (&request.user, &settings.user, own) {
        (Some(user), _, _) => (user.clone(), "asked for"),
        (None, Some(user), _) => (user.clone(), "[tool.coil] user"),
        (None, None, Some(user)) => (user.clone(), "the base's own"),
        (None, None, None) if base.is_some_and(|base| base.image.is_some()) => {
            (USER.to_owned(), "the base runs as root")
        }
        (None, None, None) => (USER.to_owned(), ""),
    };
    Ok(RunSettings {
        command: start.argv.clone(),
        env,
        labels,
        user,
        user_reason: user_reason.to_owned(),
        ports: ports.into_iter().collect(),
    })
}

fn image_layers(platform: &PlannedPlatform, app: Layer) -> Vec<ImageLayer> {
    let mut layers: Vec<ImageLayer> = platform
        .layers
        .iter()
        .map(|planned| ImageLayer {
            kind: planned.kind(),
            layer: planned.layer.clone(),
            created_by: planned.created_by.clone(),
        })
        .collect();
    layers.push(ImageLayer {
        kind: LayerKind::App,
        layer: app,
        created_by: "app".into(),
    });
    layers
}

fn report(
    packer: &Packer<'_>,
    planned: &Planned,
    platform: &PlannedPlatform,
    layers: &[ImageLayer],
    run: &RunSettings,
    start: &Start,
    descriptor: &Descriptor,
) -> Result<PackedImage, PackError> {
    let manifest = packer.store.read_manifest(descriptor)?;
    let packages = platform
        .layers
        .iter()
        .map(|layer| layer.packages.clone())
        .chain([Vec::new()]);
    Ok(PackedImage {
        platform: format!("linux/{}", platform.arch),
        manifest: descriptor.digest.clone(),
        id: manifest.config.digest,
        python: Chosen {
            value: platform.base.python.version.clone(),
            reason: planned.python.reason.clone(),
        },
        base: planned.base.clone(),
        packages_from: planned.packages_from.clone(),
        command: start.argv.clone(),
        command_found_in: start.found_in.clone(),
        user: run.user.clone(),
        user_reason: run.user_reason.clone(),
        env: run.env.clone(),
        ports: run.ports.clone(),
        layers: layers
            .iter()
            .zip(packages)
            .map(|(layer, packages)| LayerReport {
                kind: layer.kind,
                digest: layer.layer.digest.clone(),
                diff_id: layer.layer.diff_id.clone(),
                size: layer.layer.size,
                unpacked: layer.layer.unpacked,
                packages,
            })
            .collect(),
    })
}
