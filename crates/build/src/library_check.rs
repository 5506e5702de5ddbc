//! What the binary files of wheels need of the system below them: processor, C library, other libraries.
//!
//! A library counts as there when the linker finds it in the base or in what is added to it, or when any wheel of the image
//! brings a file of that name: packages find each other's libraries by paths of their own or load them before they are needed,
//! and what only looks as if it were missing must not be told. `docs/design/libraries.md` says what is an error and what is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use coil_elf::{Elf, ElfError, FileSource, Machine};
use coil_oci::Arch;
use coil_store::Store;
use coil_wheel::archive::{Archive, Inflater};
use coil_wheel::download::FetchedWheel;
use coil_wheel::facts;
use coil_wheel::layer::{LayerError, LayerFault, WheelFile};
use serde::{Deserialize, Serialize};

use crate::error::PackError;

/// Records of wheels' binary files.
const KIND: &str = "wheel-libraries-v1";
/// A larger file is put on the disk to be read, not into memory.
const LARGE: u64 = 64 << 20;
/// What comes from the host's drivers, or with the interpreter; and what has another name in each system.
const NOT_LOOKED_FOR: [&str; 8] = [
    "libcuda.so",
    "libnvidia-",
    "libnvcuvid.so",
    "libnvoptix.so",
    "libpython3",
    "ld-linux",
    "linux-vdso.so",
    "libc.musl-",
];

/// One binary file of a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BinaryFile {
    /// Its entry in the wheel.
    pub(crate) entry: String,
    /// The processor.
    pub(crate) machine: Machine,
    /// The name by which others need it.
    pub(crate) soname: Option<String>,
    /// The libraries that it needs.
    pub(crate) needed: Vec<String>,
    /// The version of glibc that it needs at least.
    pub(crate) glibc: Option<(u32, u32)>,
}

impl BinaryFile {
    fn new(entry: &str, elf: Elf) -> BinaryFile {
        BinaryFile {
            entry: entry.to_owned(),
            machine: elf.machine,
            glibc: elf.highest("GLIBC_"),
            soname: elf.soname,
            needed: elf.needed,
        }
    }

    fn file_name(&self) -> &str {
        self.entry.rsplit('/').next().unwrap_or(&self.entry)
    }

    /// Whether its name says that the interpreter imports it.
    fn is_module(&self) -> bool {
        self.file_name().ends_with(".so")
            && (self.file_name().contains(".cpython-") || self.file_name().contains(".abi3."))
    }
}

/// A wheel's binary files.
#[derive(Debug, Clone)]
pub(crate) struct WheelBinaries {
    /// `opencv-python 4.10.0`.
    pub(crate) title: String,
    /// The files.
    pub(crate) files: Vec<BinaryFile>,
    /// What it makes importable.
    pub(crate) modules: Vec<String>,
}

/// What the image has for the wheels.
#[derive(Debug, Clone)]
pub(crate) struct Below {
    /// Its processor.
    pub(crate) arch: Arch,
    /// The version of its glibc; none where it has another C library.
    pub(crate) glibc: Option<(u32, u32)>,
    /// The libraries that its linker finds.
    pub(crate) libraries: BTreeSet<String>,
}

/// What one wheel lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The wheel.
    pub(crate) title: String,
    /// The libraries, with the first file that needs each.
    pub(crate) libraries: BTreeMap<String, String>,
}

/// Reads the binary files of all wheels, or takes them from the cache.
pub(crate) fn read_all(
    store: &Store,
    wheels: &[FetchedWheel],
    threads: usize,
) -> Result<Vec<WheelBinaries>, PackError> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, wheels.len().max(1)) {
            scope.spawn(|| {
                while let Some(wheel) = wheels.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let read = read_one(store, wheel);
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((wheel.filename.clone(), read));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by(|a, b| a.0.cmp(&b.0));
    done.into_iter()
        .map(|(_, read)| read.map_err(|error| PackError::Layer(Box::new(error))))
        .collect()
}

fn read_one(store: &Store, fetched: &FetchedWheel) -> Result<WheelBinaries, LayerError> {
    let wheel = WheelFile {
        path: fetched.path.clone(),
        filename: fetched.filename.clone(),
        sha256: fetched.sha256.clone(),
        direct_url: None,
    };
    let mut parts = fetched.filename.split('-');
    let title = format!(
        "{} {}",
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default()
    );
    let facts = facts::facts(store, &wheel)?;
    let modules = facts.modules;
    let key = fetched.sha256.hex();
    let known = store.cache_get(KIND, key);
    if let Some(files) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Ok(WheelBinaries {
            title,
            files,
            modules,
        });
    }
    let mut files = Vec::new();
    if !facts.elf.is_empty() {
        let fail = |source| LayerError {
            wheel: Some(wheel.filename.clone()),
            fault: LayerFault::Archive(source),
        };
        let archive = Archive::open(&wheel.path).map_err(fail)?;
        let mut inflater = Inflater::new();
        for name in &facts.elf {
            let Some(entry) = archive.find(name) else { continue };
            let mut copy = Copy::new(store, entry.size);
            archive
                .stream(entry, &mut inflater, &mut |_, plain| {
                    copy.write(plain);
                    Ok(())
                })
                .map_err(fail)?;
            // A file that is damaged, or can't be put on the disk, is not judged.
            if let Ok(elf) = copy.read() {
                files.push(BinaryFile::new(name, elf));
            }
        }
    }
    if let Ok(record) = serde_json::to_vec(&files) {
        // Without the record the files are only read again.
        let _ = store.cache_put(KIND, key, &record);
    }
    Ok(WheelBinaries {
        title,
        files,
        modules,
    })
}

/// A file's bytes while they are looked at.
enum Copy {
    Memory(Vec<u8>),
    Disk(Option<File>),
}

impl Copy {
    fn new(store: &Store, size: u64) -> Copy {
        if size <= LARGE {
            return Copy::Memory(Vec::with_capacity(usize::try_from(size).unwrap_or(0)));
        }
        let file = store.temp_path().and_then(|path| {
            let mut options = File::options();
            let file = options.read(true).write(true).create_new(true).open(&path)?;
            // It goes away with whoever holds it.
            fs::remove_file(&path)?;
            Ok(file)
        });
        Copy::Disk(file.ok())
    }

    fn write(&mut self, bytes: &[u8]) {
        match self {
            Copy::Memory(all) => all.extend_from_slice(bytes),
            Copy::Disk(file) => {
                if file.as_mut().is_some_and(|file| file.write_all(bytes).is_err()) {
                    *file = None;
                }
            }
        }
    }

    fn read(self) -> Result<Elf, ElfError> {
        match self {
            Copy::Memory(bytes) => coil_elf::read(&mut bytes.as_slice()),
            Copy::Disk(Some(file)) => coil_elf::read(&mut FileSource::new(file).map_err(ElfError::Disk)?),
            Copy::Disk(None) => Err(ElfError::Damaged("it could not be kept")),
        }
    }
}

/// What no library from elsewhere can mend: wheels for another processor or a newer glibc.
///
/// An extension module that cannot be imported is an error; anything else is told.
///
/// # Errors
/// When a wheel's extension modules cannot work in the image.
pub(crate) fn check_machine(
    wheels: &[WheelBinaries],
    below: &Below,
    notes: &mut Vec<String>,
) -> Result<(), PackError> {
    let machine = match below.arch {
        Arch::Amd64 => Machine::X86_64,
        Arch::Arm64 => Machine::AARCH64,
    };
    for wheel in wheels {
        let fits = |file: &&BinaryFile| file.machine == machine;
        // One that brings files for several processors chooses among them itself.
        if let Some(file) = wheel.files.first()
            && !wheel.files.iter().any(|file| fits(&file))
        {
            let message = format!(
                "{} has files for {} only ({}), and the image is for {machine}",
                wheel.title, file.machine, file.entry
            );
            if wheel.files.iter().any(BinaryFile::is_module) {
                return Err(PackError::Setting {
                    message,
                    help: Some(
                        "its wheel is not what its name says: take another version, or build it with --no-binary"
                            .into(),
                    ),
                });
            }
            notes.push(message);
            continue;
        }
        let Some(has) = below.glibc else { continue };
        let newest = wheel
            .files
            .iter()
            .filter(fits)
            .filter(|file| file.glibc.is_some_and(|wanted| wanted > has))
            .max_by_key(|file| (file.is_module(), file.glibc));
        if let Some(file) = newest
            && let Some((major, minor)) = file.glibc
        {
            let message = format!(
                "{} needs glibc {major}.{minor} ({}), and the base has {}.{}",
                wheel.title, file.entry, has.0, has.1
            );
            let better = base_with((major, minor));
            if file.is_module() {
                return Err(PackError::Setting {
                    message,
                    help: Some(match better {
                        Some(base) => {
                            format!("take a newer base, such as `--base {base}`, or an older version of it")
                        }
                        None => "take an older version of it, or build it with --no-binary".into(),
                    }),
                });
            }
            notes.push(message);
        }
    }
    Ok(())
}

/// The oldest suite with a glibc.
fn base_with(wanted: (u32, u32)) -> Option<&'static str> {
    const SUITES: [(&str, (u32, u32)); 3] = [("bookworm", (2, 36)), ("trixie", (2, 41)), ("sid", (2, 42))];
    SUITES
        .into_iter()
        .find(|(_, glibc)| *glibc >= wanted)
        .map(|(name, _)| name)
}

/// The libraries that nothing in the image brings, for each wheel that needs some.
pub(crate) fn missing(wheels: &[WheelBinaries], below: &Below) -> Vec<Missing> {
    let machine = match below.arch {
        Arch::Amd64 => Machine::X86_64,
        Arch::Arm64 => Machine::AARCH64,
    };
    let files = || wheels.iter().flat_map(|wheel| &wheel.files);
    let mut brought: BTreeSet<&str> = files().map(BinaryFile::file_name).collect();
    brought.extend(files().filter_map(|file| file.soname.as_deref()));
    let there = |name: &str| {
        below.libraries.contains(name)
            || brought.contains(name)
            || name.contains('/')
            || NOT_LOOKED_FOR.iter().any(|start| name.starts_with(start))
    };
    // A plugin for a part of a family that the wheel itself left out (Qt's WebEngine) works with no other build of that part.
    let families: BTreeSet<&str> = brought.iter().filter_map(|name| family(name)).collect();
    let is_dead = |file: &BinaryFile| {
        let mut needed = file.needed.iter().filter(|name| !there(name));
        needed.any(|name| family(name).is_some_and(|family| families.contains(family)))
    };
    let mut found = Vec::new();
    for wheel in wheels {
        let mut libraries = BTreeMap::new();
        let fitting = wheel.files.iter().filter(|file| file.machine == machine);
        for file in fitting.filter(|file| !is_dead(file)) {
            for name in file.needed.iter().filter(|name| !there(name)) {
                let first = libraries
                    .entry(name.clone())
                    .or_insert_with(|| file.entry.clone());
                // What the interpreter imports is told rather than a plugin.
                if file.is_module() && !first.contains(".cpython-") && !first.contains(".abi3.") {
                    first.clone_from(&file.entry);
                }
            }
        }
        if !libraries.is_empty() {
            found.push(Missing {
                title: wheel.title.clone(),
                libraries,
            });
        }
    }
    found
}

/// The family of a library whose name begins with it: `libQt6` of `libQt6WebEngineCore.so.6`.
fn family(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("lib")?;
    let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let fits = letters > 1
        && rest.starts_with(|c: char| c.is_ascii_uppercase())
        && rest[letters..].starts_with(|c: char| c.is_ascii_digit());
    fits.then(|| &name[..3 + letters + 1])
}

/// How many packages stand in a line that is made to be copied.
const MOST_QUOTED: usize = 12;
/// How many libraries of one wheel are told by name.
const MOST_TOLD: usize = 4;

/// Tells what is missing, with the Debian packages that have it, as far as they are known.
pub(crate) fn tell(missing: &[Missing], packages: &BTreeMap<String, String>, addable: bool) -> Vec<String> {
    let mut notes = Vec::new();
    for wheel in missing {
        let first = wheel.libraries.iter().take(MOST_TOLD);
        let mut told: Vec<String> = first.map(|(name, file)| format!("{name} ({file})")).collect();
        if wheel.libraries.len() > MOST_TOLD {
            told.push(format!("{} more", wheel.libraries.len() - MOST_TOLD));
        }
        let wanted: BTreeSet<&str> = wheel
            .libraries
            .keys()
            .filter_map(|name| packages.get(name))
            .map(String::as_str)
            .collect();
        let mut note = format!(
            "{} needs {}, which the image has not",
            wheel.title,
            told.join(", ")
        );
        if wanted.len() > MOST_QUOTED && addable {
            let count = wanted.len();
            note.push_str(&format!(
                ": Debian has it in {count} packages, which --auto-apt adds and pins; or name those that you use as `apt` in \
                 [tool.coil]"
            ));
        } else if !wanted.is_empty() && addable {
            let quoted: Vec<String> = wanted.iter().map(|name| format!("\"{name}\"")).collect();
            note.push_str(&format!(
                ": add `apt = [{}]` to [tool.coil], or pack with --auto-apt",
                quoted.join(", ")
            ));
        } else if !wanted.is_empty() {
            let names: Vec<&str> = wanted.into_iter().collect();
            note.push_str(&format!(": Debian has it in {}", names.join(", ")));
        }
        notes.push(note);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(entry: &str, machine: Machine, needed: &[&str], glibc: (u32, u32)) -> BinaryFile {
        BinaryFile {
            entry: entry.into(),
            machine,
            soname: None,
            needed: needed.iter().map(ToString::to_string).collect(),
            glibc: Some(glibc),
        }
    }

    fn wheel(files: &[BinaryFile]) -> WheelBinaries {
        WheelBinaries {
            title: "x 1".into(),
            files: files.to_vec(),
            modules: Vec::new(),
        }
    }

    fn below() -> Below {
        Below {
            arch: Arch::Amd64,
            glibc: Some((2, 36)),
            libraries: ["libc.so.6", "libm.so.6"].map(str::to_string).into(),
        }
    }

    #[test]
    fn what_is_there_by_any_way() {
        let needed = [
            "libc.so.6",
            "libinner-12ab.so.1",
            "libcuda.so.1",
            "libpython3.13.so.1.0",
            "ld-linux-x86-64.so.2",
            "libGL.so.1",
        ];
        let plugin = file(
            "x/plugins/libp.so",
            Machine::X86_64,
            &["libGL.so.1", "libodbc.so.2"],
            (2, 2),
        );
        let module = file(
            "x/a.cpython-313-x86_64-linux-gnu.so",
            Machine::X86_64,
            &needed,
            (2, 2),
        );
        let inner = file(
            "x.libs/libinner-12ab.so.1",
            Machine::X86_64,
            &["libm.so.6"],
            (2, 2),
        );
        let other = file("x/other.so", Machine::AARCH64, &["libnever.so.1"], (2, 99));
        let wheels = [wheel(&[plugin, module, inner, other])];
        let found = missing(&wheels, &below());
        assert_eq!(found.len(), 1);
        let packages = BTreeMap::from([("libGL.so.1".to_string(), "libgl1".to_string())]);
        assert_eq!(
            tell(&found, &packages, true),
            [
                "x 1 needs libGL.so.1 (x/a.cpython-313-x86_64-linux-gnu.so), libodbc.so.2 (x/plugins/libp.so), which the image \
              has not: add `apt = [\"libgl1\"]` to [tool.coil], or pack with --auto-apt"
            ]
        );
        assert_eq!(tell(&found, &BTreeMap::new(), true)[0].split(": ").count(), 1);
        let mut notes = Vec::new();
        check_machine(&wheels, &below(), &mut notes).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn parts_of_a_family_that_were_left_out_are_not_missed() {
        assert_eq!(family("libQt6WebEngineCore.so.6"), Some("libQt6"));
        assert_eq!(family("libQt63DCore.so.6"), Some("libQt6"));
        assert_eq!(family("libX11.so.6"), None);
        assert_eq!(family("libgl.so.1"), None);
        let core = file("q/lib/libQt6Core.so.6", Machine::X86_64, &["libGL.so.1"], (2, 2));
        let plugin = file(
            "q/plugins/libw.so",
            Machine::X86_64,
            &["libQt6WebView.so.6", "libodd.so.1"],
            (2, 2),
        );
        let found = missing(&[wheel(&[core, plugin])], &below());
        let names: Vec<&String> = found[0].libraries.keys().collect();
        assert_eq!(names, ["libGL.so.1"]);
    }

    #[test]
    fn another_processor_and_a_newer_glibc() {
        let mut notes = Vec::new();
        let mut check = |entry: &str, machine, glibc| {
            let wheels = [wheel(&[file(entry, machine, &[], glibc)])];
            match check_machine(&wheels, &below(), &mut notes) {
                Ok(()) => notes.pop().unwrap_or_default(),
                Err(error) => format!("error: {error}; {}", error.help().unwrap_or_default()),
            }
        };
        assert_eq!(
            check("x/a.abi3.so", Machine::AARCH64, (2, 17)),
            "error: x 1 has files for aarch64 only (x/a.abi3.so), and the image is for x86_64; its wheel is not what its \
             name says: take another version, or build it with --no-binary"
        );
        assert!(check("x/tool", Machine::AARCH64, (2, 17)).starts_with("x 1 has files for aarch64 only"));
        assert_eq!(
            check("x/a.abi3.so", Machine::X86_64, (2, 38)),
            "error: x 1 needs glibc 2.38 (x/a.abi3.so), and the base has 2.36; take a newer base, such as `--base trixie`, \
             or an older version of it"
        );
        assert_eq!(
            check("x/tool", Machine::X86_64, (2, 38)),
            "x 1 needs glibc 2.38 (x/tool), and the base has 2.36"
        );
        assert_eq!(check("x/tool", Machine::X86_64, (2, 36)), "");
    }
}
