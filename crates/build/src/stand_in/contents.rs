//! What each kind of stand-in holds: packages, files of our own, scripts around the packages, and what it starts.

use coil_debian::PinnedSystem;
use coil_oci::{ContainerConfig, Digest};
use serde_json::json;

use super::name::{Kind, Recipe};
use super::upstream;

/// A file of our own.
pub(super) struct OwnFile {
    /// Where, without the leading slash.
    pub(super) path: &'static str,
    /// Its text.
    pub(super) text: &'static str,
    /// Its mode.
    pub(super) mode: u32,
}

/// What a stand-in holds besides what every system has.
pub(super) struct Contents {
    kind: Kind,
    /// Packages to install.
    pub(super) packages: Vec<String>,
    /// Packages whose files go to `/usr/local`.
    pub(super) relocated: Vec<String>,
    /// Python's major and minor number.
    pub(super) python: Option<&'static str>,
    /// Whether documentation and translations are left out.
    pub(super) slim: bool,
    /// A script that runs before the packages are installed.
    pub(super) before: Option<&'static str>,
    /// A script that runs behind them.
    pub(super) after: Option<&'static str>,
    /// Files that the scripts copy from.
    pub(super) given: Vec<OwnFile>,
    /// Files that stay.
    pub(super) files: Vec<OwnFile>,
}

/// What the full Python image has to build extension modules with, as guides expect it: compilers, version control, and
/// the headers of the libraries that packages on the index are most often built against.
const BUILD_PACKAGES: [&str; 47] = [
    "autoconf",
    "automake",
    "bzip2",
    "curl",
    "default-libmysqlclient-dev",
    "dpkg-dev",
    "file",
    "g++",
    "gcc",
    "git",
    "gnupg",
    "libbz2-dev",
    "libc6-dev",
    "libcurl4-openssl-dev",
    "libdb-dev",
    "libevent-dev",
    "libffi-dev",
    "libgdbm-dev",
    "libglib2.0-dev",
    "libgmp-dev",
    "libjpeg-dev",
    "libkrb5-dev",
    "liblzma-dev",
    "libncurses-dev",
    "libpng-dev",
    "libpq-dev",
    "libreadline-dev",
    "libsqlite3-dev",
    "libssl-dev",
    "libtool",
    "libwebp-dev",
    "libxml2-dev",
    "libxslt1-dev",
    "libyaml-dev",
    "make",
    "openssh-client",
    "patch",
    "pkg-config",
    "procps",
    "tk",
    "tk-dev",
    "unzip",
    "uuid-dev",
    "wget",
    "xz-utils",
    "zip",
    "zlib1g-dev",
];

/// Whether a need is not followed: the parts of Python that go to `/usr/local` need no other parts of Debian's Python, and
/// headers need no others where there is no compiler anyway.
pub(super) fn is_left_alone(package: &str, wanted: &str) -> bool {
    let python = |name: &str| name.starts_with("python3") || name.starts_with("libpython3");
    python(package)
        && (python(wanted)
            || wanted == "blt"
            || wanted.starts_with("tk8")
            || wanted.starts_with("libt") && wanted.contains("8.6")
            || wanted.ends_with("-dev"))
}

impl Contents {
    /// What a recipe asks for.
    pub(super) fn of(recipe: &Recipe) -> Contents {
        let mut contents = Contents {
            kind: recipe.kind.clone(),
            packages: Vec::new(),
            relocated: Vec::new(),
            python: None,
            slim: recipe.slim,
            before: None,
            after: None,
            given: Vec::new(),
            files: Vec::new(),
        };
        let own = |path, text| OwnFile {
            path,
            text,
            mode: 0o755,
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        match &recipe.kind {
            Kind::Debian => {}
            Kind::Own(packages) => contents.packages.clone_from(packages),
            Kind::Python => {
                contents.python = Some(recipe.suite.python);
                contents.packages = names(&["ca-certificates", "netbase", "tzdata"]);
                if !recipe.slim {
                    contents.packages.extend(names(&BUILD_PACKAGES));
                    if ["3.9", "3.11"].contains(&recipe.suite.python) {
                        // What this one's tkinter is linked against.
                        contents.packages.push("tk8.6-blt2.5".into());
                    }
                }
                contents.relocated = python_parts(recipe.suite.python);
            }
            Kind::Postgres(major) => {
                contents.packages =
                    names(&["ca-certificates", "locales", "tzdata", "xz-utils", "zstd", "less"]);
                contents.packages.push(format!("postgresql-{major}"));
                contents.before = Some(include_str!("../../data/stand_in/postgres-before.sh"));
                contents.after = Some(include_str!("../../data/stand_in/postgres-after.sh"));
                let text = include_str!("../../data/stand_in/postgres-entrypoint.sh");
                contents
                    .files
                    .push(own("usr/local/bin/docker-entrypoint.sh", text));
            }
            Kind::Redis => {
                contents.packages = names(&["ca-certificates", "redis-server", "tzdata"]);
                contents.before = Some(include_str!("../../data/stand_in/redis-before.sh"));
                contents.after = Some(include_str!("../../data/stand_in/redis-after.sh"));
                let text = include_str!("../../data/stand_in/redis-entrypoint.sh");
                contents
                    .files
                    .push(own("usr/local/bin/docker-entrypoint.sh", text));
            }
            Kind::Nginx => {
                contents.packages = names(&["ca-certificates", "curl", "gettext-base", "nginx", "tzdata"]);
                contents.before = Some(include_str!("../../data/stand_in/nginx-before.sh"));
                contents.after = Some(include_str!("../../data/stand_in/nginx-after.sh"));
                let text = include_str!("../../data/stand_in/nginx-entrypoint.sh");
                contents.files.push(own("docker-entrypoint.sh", text));
                contents.given = vec![
                    own("nginx.conf", include_str!("../../data/stand_in/nginx.conf")),
                    own("default.conf", include_str!("../../data/stand_in/default.conf")),
                    own("index.html", include_str!("../../data/stand_in/index.html")),
                ];
                for file in &mut contents.given {
                    file.mode = 0o644;
                }
            }
        }
        contents
    }

    /// Whether there is anything besides what every system has.
    pub(super) fn is_bare(&self) -> bool {
        self.packages.is_empty() && self.relocated.is_empty() && self.files.is_empty()
    }

    /// A digest of all that decides about the bytes but the packages.
    pub(super) fn identity(&self) -> Digest {
        let mut text = format!(
            "{:?} {:?} {:?} {:?} {:?} {}\n",
            self.kind,
            self.python,
            self.slim,
            self.before,
            self.after,
            super::FORMAT
        );
        for file in self.given.iter().chain(&self.files) {
            text.push_str(&format!("{} {:o} {}\n", file.path, file.mode, file.text));
        }
        for script in super::system_layers::SCRIPTS {
            text.push_str(script);
        }
        Digest::of(text.as_bytes())
    }

    /// What the second layer holds, for `coil history`.
    pub(super) fn summary(&self, system: &PinnedSystem) -> String {
        let version = |package: String| {
            let found = system.package(&package);
            found.map(|found| upstream(&found.version)).unwrap_or_default()
        };
        match &self.kind {
            Kind::Debian => "nothing".into(),
            Kind::Own(packages) => format!("packages {}", packages.join(" ")),
            Kind::Python => {
                let minor = self.python.unwrap_or_default();
                format!(
                    "Python {} in /usr/local",
                    version(format!("python{minor}-minimal"))
                )
            }
            Kind::Postgres(major) => format!("PostgreSQL {}", version(format!("postgresql-{major}"))),
            Kind::Redis => format!("Redis {}", version("redis-server".into())),
            Kind::Nginx => format!("nginx {}", version("nginx".into())),
        }
    }

    /// What a container of it starts with.
    pub(super) fn config(&self, system: &PinnedSystem) -> ContainerConfig {
        const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let version = |package: String| {
            let found = system.package(&package);
            found.map(|found| upstream(&found.version)).unwrap_or_default()
        };
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let plain = ContainerConfig {
            env: vec![format!("PATH={PATH}")],
            cmd: words(&["bash"]),
            ..ContainerConfig::default()
        };
        match &self.kind {
            Kind::Debian | Kind::Own(_) => plain,
            Kind::Python => {
                let minor = self.python.unwrap_or_default();
                let version = version(format!("python{minor}-minimal"));
                ContainerConfig {
                    env: vec![
                        "PATH=/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                            .into(),
                        "LANG=C.UTF-8".into(),
                        format!("PYTHON_VERSION={version}"),
                    ],
                    cmd: words(&["python3"]),
                    ..plain
                }
            }
            Kind::Postgres(major) => ContainerConfig {
                env: vec![
                    format!("PATH={PATH}:/usr/lib/postgresql/{major}/bin"),
                    "LANG=en_US.utf8".into(),
                    format!("PG_MAJOR={major}"),
                    format!("PG_VERSION={}", version(format!("postgresql-{major}"))),
                    "PGDATA=/var/lib/postgresql/data".into(),
                ],
                entrypoint: words(&["docker-entrypoint.sh"]),
                cmd: words(&["postgres"]),
                exposed_ports: [("5432/tcp".to_owned(), json!({}))].into(),
                volumes: [("/var/lib/postgresql/data".to_owned(), json!({}))].into(),
                stop_signal: "SIGINT".into(),
                ..plain
            },
            Kind::Redis => ContainerConfig {
                env: vec![
                    format!("PATH={PATH}"),
                    format!("REDIS_VERSION={}", version("redis-server".into())),
                ],
                entrypoint: words(&["docker-entrypoint.sh"]),
                cmd: words(&["redis-server"]),
                exposed_ports: [("6379/tcp".to_owned(), json!({}))].into(),
                volumes: [("/data".to_owned(), json!({}))].into(),
                working_dir: "/data".into(),
                ..plain
            },
            Kind::Nginx => ContainerConfig {
                env: vec![
                    format!("PATH={PATH}"),
                    format!("NGINX_VERSION={}", version("nginx".into())),
                ],
                entrypoint: words(&["/docker-entrypoint.sh"]),
                cmd: words(&["nginx", "-g", "daemon off;"]),
                exposed_ports: [("80/tcp".to_owned(), json!({}))].into(),
                stop_signal: "SIGQUIT".into(),
                ..plain
            },
        }
    }
}

/// The packages that Python's interpreter, library, headers and first wheels come in.
fn python_parts(minor: &str) -> Vec<String> {
    let mut names = vec![
        format!("python{minor}"),
        format!("python{minor}-minimal"),
        format!("libpython{minor}"),
        format!("libpython{minor}-minimal"),
        format!("libpython{minor}-stdlib"),
        format!("libpython{minor}-dev"),
        format!("python{minor}-dev"),
        format!("python{minor}-venv"),
    ];
    if minor == "3.9" {
        for name in ["-pip-whl", "3-distutils", "3-gdbm", "3-lib2to3", "3-tk"] {
            names.push(format!("python{name}"));
        }
        return names;
    }
    names.push("python3-pip-whl".into());
    if minor == "3.11" {
        // Later ones have no distutils, and pip alone in a new environment.
        for name in [
            "distutils",
            "gdbm",
            "lib2to3",
            "tk",
            "setuptools-whl",
            "wheel-whl",
        ] {
            names.push(format!("python3-{name}"));
        }
    } else {
        names.push(format!("python{minor}-gdbm"));
        names.push(format!("python{minor}-tk"));
    }
    names
}
