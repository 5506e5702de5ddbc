//! Debian's Python in `/usr/local`, laid out as the official image has it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use coil_debian::{Arrivals, PinnedSystem};

use super::contents::OwnFile;
use super::frozen_site::thaw;
use super::python_patch::{Patch, patches};
use super::system_layers::put;
use super::{StandInError, StandInMaker};

/// Installs pip and makes the bytecode, inside.
pub(super) const FINISH: &str = include_str!("../../data/stand_in/finish-python.sh");
/// Makes the bytecode.
pub(super) const COMPILE: &str = include_str!("../../data/stand_in/compile.py");

/// Takes the place of what Debian's setuptools expects of its Python.
pub(super) const DISTUTILS_HOOK: &str = include_str!("../../data/stand_in/distutils_hook.py");

/// Puts Python's files where they belong; gives the names of the wheels to install.
pub(super) fn fill(
    maker: &StandInMaker<'_>,
    system: &PinnedSystem,
    arrivals: &Arrivals<'_>,
    minor: &str,
    upper: &Path,
) -> Result<Vec<&'static str>, StandInError> {
    let failed = || StandInError::disk("putting Python into the image");
    let triplet = maker.arch.triplet();
    let place = |path: &str| place(path, minor, triplet);
    maker
        .archive
        .unpack_files(arrivals, &system.relocated, upper, &place)
        .map_err(|error| StandInError::Assemble(Box::new(error)))?;
    let home = upper.join("usr/local");
    let bundled = home.join(format!("lib/python{minor}/ensurepip/_bundled"));
    for patch in patches(minor, triplet, &bundled).map_err(failed())? {
        apply(&home, &patch)?;
    }
    for (path, needed) in [
        (format!("bin/python{minor}"), true),
        (format!("lib/libpython{minor}.so.1.0"), false),
    ] {
        let file = home.join(&path);
        let meta = fs::metadata(&file).map_err(failed())?;
        let mut bytes = fs::read(&file).map_err(failed())?;
        // Older ones have only what reads modules inside themselves.
        let needed = needed && minor != "3.9";
        if thaw(&mut bytes) {
            let write = || -> io::Result<()> {
                fs::write(&file, &bytes)?;
                fs::OpenOptions::new()
                    .write(true)
                    .open(&file)?
                    .set_modified(meta.modified()?)
            };
            write().map_err(failed())?;
        } else if needed {
            return Err(StandInError::Unknown {
                path,
                missing: "table of frozen modules".into(),
            });
        }
    }
    // Of the wheels those stay that ensurepip installs.
    let own = upper.join(".coil");
    let prepare = || -> io::Result<()> {
        fs::create_dir_all(own.join("wheels"))?;
        let given = if minor == "3.9" {
            Vec::new()
        } else {
            names(&bundled)?
        };
        for name in given {
            if !(name.starts_with("pip-") || (minor == "3.11" && name.starts_with("setuptools-"))) {
                fs::copy(bundled.join(&name), own.join("wheels").join(&name))?;
                fs::remove_file(bundled.join(&name))?;
            }
        }
        put(
            &own,
            &OwnFile {
                path: "finish",
                text: FINISH,
                mode: 0o755,
            },
        )?;
        put(
            &own,
            &OwnFile {
                path: "compile.py",
                text: COMPILE,
                mode: 0o644,
            },
        )?;
        if minor == "3.11" {
            put(
                &home,
                &OwnFile {
                    path: "lib/python3.11/_distutils_system_mod.py",
                    text: DISTUTILS_HOOK,
                    mode: 0o644,
                },
            )?;
        }
        links(&home, minor)
    };
    prepare().map_err(failed())?;
    Ok(match minor {
        "3.9" => vec!["pip", "setuptools", "pkg_resources", "wheel"],
        "3.11" => vec!["pip", "setuptools", "wheel"],
        _ => vec!["pip"],
    })
}

/// Where a file of Debian's packages goes; none for what upstream has not.
fn place(path: &str, minor: &str, triplet: &str) -> Option<String> {
    let library = format!("usr/lib/python{minor}");
    let inside = |path: &str, folder: &str| -> Option<String> {
        let rest = path.strip_prefix(folder)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
    };
    if let Some(rest) = inside(path, &library) {
        let name = rest.rsplit('/').next().unwrap_or_default();
        let left_out = [
            "EXTERNALLY-MANAGED",
            "_distutils_system_mod.py",
            "sitecustomize.py",
        ];
        let archive = rest.starts_with("config-") && (name.ends_with(".a") || name.ends_with(".so"));
        if left_out.contains(&rest.as_str()) || archive || rest.starts_with("dist-packages") {
            return None;
        }
        return Some(
            format!("usr/local/lib/python{minor}/{rest}")
                .trim_end_matches('/')
                .to_owned(),
        );
    }
    if let Some(name) = inside(path, "usr/bin").filter(|name| !name.is_empty()) {
        let config = format!("{triplet}-python{minor}-config");
        if name == config {
            return Some(format!("usr/local/bin/python{minor}-config"));
        }
        let kept = [
            format!("python{minor}"),
            format!("pydoc{minor}"),
            format!("2to3-{minor}"),
        ];
        return kept.contains(&name).then(|| format!("usr/local/bin/{name}"));
    }
    if let Some(name) = inside(path, &format!("usr/lib/{triplet}")).filter(|name| !name.is_empty()) {
        let library = name.starts_with(&format!("libpython{minor}.so"));
        let package = name.starts_with("pkgconfig/");
        return (library || package).then(|| format!("usr/local/lib/{name}"));
    }
    if path == format!("usr/include/{triplet}/python{minor}/pyconfig.h") {
        return Some(format!("usr/local/include/python{minor}/pyconfig.h"));
    }
    let headers = format!("usr/include/python{minor}");
    if let Some(rest) = inside(path, &headers) {
        // This one only leads to the one above.
        return (rest != "pyconfig.h").then(|| {
            format!("usr/local/include/python{minor}/{rest}")
                .trim_end_matches('/')
                .to_owned()
        });
    }
    if let Some(name) = inside(path, "usr/share/python-wheels").filter(|name| !name.is_empty()) {
        return Some(match minor {
            "3.9" => format!("usr/local/share/python-wheels/{name}"),
            _ => format!("usr/local/lib/python{minor}/ensurepip/_bundled/{name}"),
        });
    }
    let is_licence =
        path.starts_with("usr/share/doc/") && path.ends_with("/copyright") && path.matches('/').count() == 4;
    is_licence.then(|| path.replacen("usr/share", "usr/local/share", 1))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The short names, and the folder that pip installs into.
fn links(home: &Path, minor: &str) -> io::Result<()> {
    let bin = home.join("bin");
    let mut pairs = vec![
        ("python3".to_owned(), format!("python{minor}")),
        ("python".to_owned(), "python3".to_owned()),
        ("python3-config".to_owned(), format!("python{minor}-config")),
        ("python-config".to_owned(), "python3-config".to_owned()),
        ("pydoc3".to_owned(), format!("pydoc{minor}")),
        ("pydoc".to_owned(), "pydoc3".to_owned()),
    ];
    let converter = bin.join(format!("2to3-{minor}"));
    if ["3.9", "3.11"].contains(&minor) && !converter.exists() {
        let text = format!(
            "#!/usr/local/bin/python{minor}\nimport sys\nfrom lib2to3.main import main\n\nsys.exit(main(\"lib2to3.fixes\"))\n"
        );
        fs::write(&converter, text)?;
        fs::set_permissions(&converter, fs::Permissions::from_mode(0o755))?;
    }
    if converter.exists() {
        pairs.push(("2to3".to_owned(), format!("2to3-{minor}")));
    }
    for (name, target) in pairs {
        symlink(target, bin.join(name))?;
    }
    fs::create_dir_all(home.join(format!("lib/python{minor}/site-packages")))
}

fn apply(home: &Path, patch: &Patch) -> Result<(), StandInError> {
    let path: PathBuf = home.join(&patch.path);
    let failed = || StandInError::disk("putting Python into the image");
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && patch.optional => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StandInError::Unknown {
                path: patch.path.clone(),
                missing: "the file itself".into(),
            });
        }
        other => other.map_err(failed())?,
    };
    let changed = patch.apply(&text).map_err(|missing| StandInError::Unknown {
        path: patch.path.clone(),
        missing,
    })?;
    // A link to another of these files was changed with it.
    let meta = fs::metadata(&path).map_err(failed())?;
    let time = meta.modified().map_err(failed())?;
    let write = || -> io::Result<()> {
        fs::write(&path, changed)?;
        fs::OpenOptions::new().write(true).open(&path)?.set_modified(time)
    };
    write().map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_where_the_official_image_has_them() {
        for (path, expected) in [
            ("usr/bin/python3.11", Some("usr/local/bin/python3.11")),
            ("usr/bin/pdb3.11", None),
            (
                "usr/bin/x86_64-linux-gnu-python3.11-config",
                Some("usr/local/bin/python3.11-config"),
            ),
            ("usr/bin/python3.11-config", None),
            ("usr/lib/python3.11", Some("usr/local/lib/python3.11")),
            ("usr/lib/python3.11/os.py", Some("usr/local/lib/python3.11/os.py")),
            ("usr/lib/python3.11/EXTERNALLY-MANAGED", None),
            (
                "usr/lib/python3.11/config-3.11-x86_64-linux-gnu/libpython3.11.a",
                None,
            ),
            ("usr/lib/python3/dist-packages/x.py", None),
            (
                "usr/lib/x86_64-linux-gnu/libpython3.11.so.1.0",
                Some("usr/local/lib/libpython3.11.so.1.0"),
            ),
            ("usr/lib/x86_64-linux-gnu/libpython3.11.a", None),
            (
                "usr/include/x86_64-linux-gnu/python3.11/pyconfig.h",
                Some("usr/local/include/python3.11/pyconfig.h"),
            ),
            ("usr/include/python3.11/pyconfig.h", None),
            (
                "usr/include/python3.11/Python.h",
                Some("usr/local/include/python3.11/Python.h"),
            ),
            (
                "usr/share/python-wheels/pip-23.0.1-py3-none-any.whl",
                Some("usr/local/lib/python3.11/ensurepip/_bundled/pip-23.0.1-py3-none-any.whl"),
            ),
            (
                "usr/share/doc/python3.11/copyright",
                Some("usr/local/share/doc/python3.11/copyright"),
            ),
            ("etc/python3.11/sitecustomize.py", None),
        ] {
            let found = place(path, "3.11", "x86_64-linux-gnu");
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }
}
