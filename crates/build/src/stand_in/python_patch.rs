//! What Debian changed in Python's own files, turned back: where packages go, and who may install them.

use std::fs;
use std::io;
use std::path::Path;

/// Changes of one file.
pub(super) struct Patch {
    /// The file, below `/usr/local`.
    pub(super) path: String,
    /// Whether the file may be missing.
    pub(super) optional: bool,
    changes: Vec<Change>,
}

enum Change {
    /// A text that must be there once at least, and what takes its place everywhere.
    Replace(String, String),
    /// The same where it may be missing.
    Maybe(String, String),
    /// From the first text up to, but not with, the second: what takes its place.
    Between(String, String, String),
}

impl Patch {
    fn of(path: impl Into<String>, changes: Vec<Change>) -> Patch {
        Patch {
            path: path.into(),
            optional: false,
            changes,
        }
    }

    fn optional(self) -> Patch {
        Patch {
            optional: true,
            ..self
        }
    }

    /// The changed text; the error is what was looked for and not found.
    pub(super) fn apply(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        let missing = |wanted: &str| wanted.lines().next().unwrap_or_default().trim().to_owned();
        for change in &self.changes {
            match change {
                Change::Replace(from, _) if !text.contains(from.as_str()) => return Err(missing(from)),
                Change::Replace(from, to) | Change::Maybe(from, to) => text = text.replace(from.as_str(), to),
                Change::Between(from, until, to) => {
                    let start = text.find(from.as_str()).ok_or_else(|| missing(from))?;
                    let length = text[start..].find(until.as_str()).ok_or_else(|| missing(until))?;
                    text.replace_range(start..start + length, to);
                }
            }
        }
        Ok(text)
    }
}

fn replace(from: &str, to: &str) -> Change {
    Change::Replace(from.to_owned(), to.to_owned())
}

fn between(from: &str, until: &str, to: &str) -> Change {
    Change::Between(from.to_owned(), until.to_owned(), to.to_owned())
}

/// All changes for one Python; `bundled` is the folder of the wheels that came.
///
/// # Errors
/// When that folder can't be read.
pub(super) fn patches(minor: &str, triplet: &str, bundled: &Path) -> io::Result<Vec<Patch>> {
    let library = format!("lib/python{minor}");
    let mut all = vec![site(&library, minor)];
    if minor == "3.9" {
        all.push(ensurepip_of_many_wheels(&library));
    } else {
        all.push(sysconfig(&library, minor));
        all.push(ensurepip(&library, minor, bundled)?);
    }
    all.extend(prefixes(&library, minor, triplet));
    all.extend(match minor {
        "3.9" => old_distutils(&library),
        "3.11" => distutils(&library),
        _ => Vec::new(),
    });
    Ok(all)
}

/// `site-packages` in place of three folders of Debian's.
fn site(library: &str, minor: &str) -> Patch {
    let own = match minor {
        "3.9" => "            if 'VIRTUAL_ENV' in os.environ or sys.base_prefix",
        _ => "            if is_virtual_environment:\n                sitepackages.append(",
    };
    let asked =
        "    is_virtual_environment = sys.base_prefix != sys.prefix or hasattr(sys, \"real_prefix\")\n\n";
    Patch::of(
        format!("{library}/site.py"),
        vec![
            between(
                own,
                "            for libdir in libdirs:\n                path = os.path.join(prefix, libdir,",
                "",
            ),
            replace("\"dist-packages\")", "\"site-packages\")"),
            match minor {
                "3.9" => Change::Maybe(asked.to_owned(), String::new()),
                _ => replace(asked, ""),
            },
            between(
                "For Debian and derivatives, this sys.path is augmented",
                "If a file named \"pyvenv.cfg\"",
                "",
            ),
            replace(
                "lib/python3/dist-packages.\n",
                "lib/python<version>/site-packages.\n",
            ),
        ],
    )
}

/// The schemes of upstream alone.
fn sysconfig(library: &str, minor: &str) -> Patch {
    let file = if minor == "3.11" {
        "sysconfig.py"
    } else {
        "sysconfig/__init__.py"
    };
    Patch::of(
        format!("{library}/{file}"),
        vec![
            between("    'deb_system': {\n", "    'posix_home': {\n", ""),
            replace(
                "('posix_prefix', 'posix_home', 'posix_local', 'deb_system')",
                "('posix_prefix', 'posix_home')",
            ),
            between(
                "    if sys.base_prefix != sys.prefix or hasattr(sys, \"real_prefix\"):\n",
                "    return {\n        'prefix': prefix_scheme,",
                "",
            ),
            replace(
                "        'prefix': prefix_scheme,",
                "        'prefix': 'posix_prefix',",
            ),
        ],
    )
}

/// Works for the interpreter itself, from wheels of its own.
fn ensurepip(library: &str, minor: &str, bundled: &Path) -> io::Result<Patch> {
    let mut version = [String::new(), String::new()];
    for entry in fs::read_dir(bundled)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        match (parts.next(), parts.next()) {
            (Some("pip"), Some(found)) => version[0] = found.to_owned(),
            (Some("setuptools"), Some(found)) => version[1] = found.to_owned(),
            _ => {}
        }
    }
    let mut changes = vec![
        between(
            "def _ensurepip_is_disabled_in_debian_for_system():",
            "\n\n__all__ = ",
            "",
        ),
        between(
            "_PIP_VERSION = \"",
            "\n",
            &format!("_PIP_VERSION = \"{}\"", version[0]),
        ),
    ];
    changes.push(Change::Maybe(
        "    _ensurepip_is_disabled_in_debian_for_system()\n".into(),
        String::new(),
    ));
    if minor == "3.11" {
        changes.push(between(
            "_SETUPTOOLS_VERSION = \"",
            "\n",
            &format!("_SETUPTOOLS_VERSION = \"{}\"", version[1]),
        ));
    }
    Ok(Patch::of(format!("{library}/ensurepip/__init__.py"), changes))
}

/// Works for the interpreter itself; this pip comes in many wheels, which stand together in a folder of their own.
fn ensurepip_of_many_wheels(library: &str) -> Patch {
    Patch::of(
        format!("{library}/ensurepip/__init__.py"),
        vec![
            between(
                "def _ensurepip_is_disabled_in_debian_for_system():",
                "\n\n_PROJECTS = [",
                "",
            ),
            replace("    _ensurepip_is_disabled_in_debian_for_system()\n", ""),
            replace("/usr/share/python-wheels", "/usr/local/share/python-wheels"),
            // Where they are already, nothing is written: not everybody may.
            replace(
                "            with open(dest, 'wb') as fp:\n                fp.write(whl)\n",
                "            if dest != path:\n                with open(dest, 'wb') as fp:\n                    fp.write(whl)\n",
            ),
        ],
    )
}

/// Every place that says where this Python was installed.
fn prefixes(library: &str, minor: &str, triplet: &str) -> Vec<Patch> {
    let own = |path: &str| format!("/usr/{path}");
    let mut changes: Vec<Change> = [
        (
            own(&format!("lib/python{minor}")),
            format!("/usr/local/lib/python{minor}"),
        ),
        (
            own(&format!("include/{triplet}/python{minor}")),
            format!("/usr/local/include/python{minor}"),
        ),
        (
            own(&format!("include/python{minor}")),
            format!("/usr/local/include/python{minor}"),
        ),
        (
            own(&format!("bin/python{minor}")),
            format!("/usr/local/bin/python{minor}"),
        ),
        (own(&format!("lib/{triplet}")), "/usr/local/lib".into()),
        ("--prefix=/usr'".into(), "--prefix=/usr/local'".into()),
        (
            "/usr/include /usr/include ".into(),
            "/usr/local/include /usr/local/include ".into(),
        ),
    ]
    .into_iter()
    .map(|(from, to)| Change::Maybe(from, to))
    .collect();
    for quote in ['\'', '"'] {
        for path in ["", "/bin", "/include", "/lib", "/share", "/share/man"] {
            changes.push(Change::Maybe(
                format!("{quote}/usr{path}{quote}"),
                format!("{quote}/usr/local{path}{quote}"),
            ));
        }
    }
    // Wheels come with ensurepip.
    changes.push(Change::Maybe(
        "'WHEEL_PKG_DIR': '/usr/share/python-wheels/'".into(),
        "'WHEEL_PKG_DIR': ''".into(),
    ));
    changes.push(Change::Maybe(
        "\"WHEEL_PKG_DIR\": \"/usr/share/python-wheels/\"".into(),
        "\"WHEEL_PKG_DIR\": \"\"".into(),
    ));
    let copy = |changes: &[Change]| -> Vec<Change> {
        let copied = changes.iter().map(|change| match change {
            Change::Replace(from, to) | Change::Maybe(from, to) => Change::Maybe(from.clone(), to.clone()),
            Change::Between(from, until, to) => Change::Between(from.clone(), until.clone(), to.clone()),
        });
        copied.collect()
    };
    let data = |name: String| Patch::of(format!("{library}/{name}"), copy(&changes)).optional();
    // Up to 3.11 the file with the longer name is a link to the one with the shorter, later the other way round.
    let main = match minor {
        "3.9" | "3.11" => format!("_sysconfigdata__{triplet}.py"),
        _ => format!("_sysconfigdata__linux_{triplet}.py"),
    };
    let mut all = vec![
        Patch {
            optional: false,
            ..data(main)
        },
        data(format!("_sysconfig_vars__linux_{triplet}.json")),
        data("build-details.json".into()),
        data(format!("build-details..{triplet}.json")),
        data(format!("config-{minor}-{triplet}/python-config.py")),
    ];
    let lines = |from: &str, to: &str| Change::Maybe(from.to_owned(), to.to_owned());
    let mut makefile = copy(&changes);
    makefile.push(lines("prefix=\t\t/usr\n", "prefix=\t\t/usr/local\n"));
    all.push(Patch::of(format!("{library}/config-{minor}-{triplet}/Makefile"), makefile).optional());
    let mut config = copy(&changes);
    config.push(lines("prefix=\"/usr\"\n", "prefix=\"/usr/local\"\n"));
    all.push(Patch::of(format!("bin/python{minor}-config"), config).optional());
    for name in [format!("python-{minor}.pc"), format!("python-{minor}-embed.pc")] {
        let mut package = copy(&changes);
        package.push(lines("prefix=/usr\n", "prefix=/usr/local\n"));
        package.push(lines(&format!(" -I${{includedir}}/{triplet}/python{minor}"), ""));
        package.push(lines(
            &format!("libdir=${{prefix}}/lib/{triplet}"),
            "libdir=${prefix}/lib",
        ));
        all.push(Patch::of(format!("lib/pkgconfig/{name}"), package).optional());
    }
    all.push(Patch::of(
        format!("bin/pydoc{minor}"),
        vec![lines("/usr/bin/python", "/usr/local/bin/python")],
    ));
    all
}

/// distutils of 3.9 installs where all else does.
fn old_distutils(library: &str) -> Vec<Patch> {
    let folder = format!("{library}/distutils");
    vec![
        Patch::of(
            format!("{folder}/sysconfig.py"),
            vec![
                between(
                    "        elif (is_default_prefix and\n",
                    "        else:\n            return os.path.join(libpython, \"site-packages\")",
                    "",
                ),
                replace(
                    "    is_default_prefix = not prefix or os.path.normpath(prefix) in ('/usr', '/usr/local')\n",
                    "",
                ),
            ],
        ),
        Patch::of(
            format!("{folder}/command/install.py"),
            vec![
                between("    'unix_local': {\n", "    'unix_home': {\n", ""),
                // Debian's setuptools ends the names of what it installs in the version of Python where this says something.
                replace(
                    "        self.prefix_option = None\n",
                    "        self.prefix_option = \"upstream\"\n",
                ),
                replace("            self.prefix_option = self.prefix\n", ""),
                between(
                    "            if self.install_layout:\n                if self.install_layout.lower() in ['deb']:",
                    "\n    def finalize_other(self):",
                    "            self.select_scheme(\"unix_prefix\")\n",
                ),
            ],
        ),
        Patch::of(
            format!("{folder}/command/install_egg_info.py"),
            vec![replace(
                "        else:\n            no_pyver = True\n",
                "        else:\n            no_pyver = False\n",
            )],
        ),
    ]
}

/// distutils installs where all else does.
fn distutils(library: &str) -> Vec<Patch> {
    let folder = format!("{library}/distutils");
    vec![
        Patch::of(
            format!("{folder}/sysconfig.py"),
            vec![
                replace(
                    "        elif is_default_prefix and not is_virtual_environment():\n            return os.path.join(prefix, \"lib\", \"python3\", \"dist-packages\")\n",
                    "",
                ),
                replace(
                    "    is_default_prefix = not prefix or os.path.normpath(prefix) in ('/usr', '/usr/local')\n",
                    "",
                ),
            ],
        ),
        Patch::of(
            format!("{folder}/command/install.py"),
            vec![
                between(
                    "# add the Debian install schemes here",
                    "# Copy from sysconfig._INSTALL_SCHEMES",
                    "",
                ),
                between(
                    "            if self.install_layout:\n                if self.install_layout.lower() in ['deb']:",
                    "\n    def finalize_other(self):",
                    "            self.select_scheme(\"unix_prefix\")\n",
                ),
            ],
        ),
        Patch::of(
            format!("{folder}/command/install_egg_info.py"),
            vec![replace(
                "        else:\n            no_pyver = True\n",
                "        else:\n            no_pyver = False\n",
            )],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_as_known_is_no_guess() {
        let patch = Patch::of("x", vec![replace("a", "b"), between("from", "until", "-")]);
        assert_eq!(patch.apply("a from x until"), Ok("b -until".into()));
        assert_eq!(patch.apply("from until"), Err("a".into()));
        assert_eq!(patch.apply("a until"), Err("from".into()));
    }

    #[test]
    fn every_place_that_tells_the_prefix() {
        let all = prefixes("lib/python3.11", "3.11", "x86_64-linux-gnu");
        let text = " 'BINDIR': '/usr/bin',\n 'INCLUDEPY': '/usr/include/python3.11',\n 'INSTALL': '/usr/bin/install -c',\n \
                    'LIBDIR': '/usr/lib/x86_64-linux-gnu',\n 'prefix': '/usr',\n";
        assert_eq!(
            all[0].apply(text).unwrap(),
            " 'BINDIR': '/usr/local/bin',\n 'INCLUDEPY': '/usr/local/include/python3.11',\n 'INSTALL': '/usr/bin/install -c',\n \
             'LIBDIR': '/usr/local/lib',\n 'prefix': '/usr/local',\n"
        );
    }
}
