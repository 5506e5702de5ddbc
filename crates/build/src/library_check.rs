//! What the binary files of wheels need of the system below them: processor, C library, other libraries.
//!
//! A library counts as there when the linker finds it in the base or in what is added to it, or when any wheel of the image
//! brings a file of that name: packages find each other's libraries by paths of their own or load them before they are needed,
//! and what only looks as if it were missing must not be told. `docs/design/libraries.md` says what is an error and what is not.

use std::collections::{BTreeMap, BTreeSet};

use coil_elf::{Elf, Machine};
use coil_oci::Arch;
use serde::{Deserialize, Serialize};

use crate::error::PackError;

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
    pub(crate) fn new(entry: &str, elf: Elf) -> BinaryFile {
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
