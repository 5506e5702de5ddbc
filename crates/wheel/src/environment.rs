//! The Python environment inside an image: where its parts stand, and what is there before any wheel.

/// Where wheels go: the prefix and the interpreter that the environment belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The environment's folder in the image, without its leading slash.
    pub prefix: String,
    /// The interpreter's full version, such as "3.11.2".
    pub python: String,
    /// The folder of the interpreter in the image, such as "/usr/bin".
    pub home: String,
}

/// A file, folder or link of the empty environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkeletonEntry {
    /// The path in the image, without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub kind: SkeletonKind,
}

/// What a skeleton entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkeletonKind {
    /// A folder.
    Directory,
    /// A file with this content.
    File(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(String),
}

impl Environment {
    /// The environment that every image has: /opt/venv, for Debian's interpreter in /usr/bin.
    pub fn standard(python: &str) -> Environment {
        Environment {
            prefix: "opt/venv".into(),
            python: python.into(),
            home: "/usr/bin".into(),
        }
    }

    /// The version's first two numbers, such as "3.11".
    pub fn minor(&self) -> String {
        self.python.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// The tag in the names of its bytecode files, such as "cpython-311".
    pub fn cache_tag(&self) -> String {
        format!("cpython-{}", self.minor().replace('.', ""))
    }

    /// The folder of packages in the image, without a leading slash.
    pub fn site_packages(&self) -> String {
        format!("{}/lib/python{}/site-packages", self.prefix, self.minor())
    }

    /// The folder of start scripts in the image, without a leading slash.
    pub fn scripts(&self) -> String {
        format!("{}/bin", self.prefix)
    }

    /// The folder of a distribution's C headers in the image, without a leading slash.
    pub fn headers(&self, name: &str) -> String {
        format!("{}/include/site/python{}/{name}", self.prefix, self.minor())
    }

    /// The interpreter that start scripts name.
    pub fn interpreter(&self) -> String {
        format!("/{}/bin/python", self.prefix)
    }

    /// A path of the environment with its links followed: lib64 is a link to lib.
    pub fn real_path(&self, path: &str) -> String {
        match path.strip_prefix(&format!("{}/lib64/", self.prefix)) {
            Some(rest) => format!("{}/lib/{rest}", self.prefix),
            None => path.to_owned(),
        }
    }

    /// A path of the environment as RECORD writes it: relative to the folder of packages.
    pub fn record_name(&self, path: &str) -> String {
        let site = self.site_packages();
        let (mut from, mut to) = (site.split('/').peekable(), path.split('/').peekable());
        while from.peek().is_some() && from.peek() == to.peek() {
            from.next();
            to.next();
        }
        let up = from.map(|_| "..");
        up.chain(to).collect::<Vec<_>>().join("/")
    }

    /// Paths below the prefix that belong to the environment itself, which no wheel may bring.
    ///
    /// Programs named like an interpreter are among them, whatever their version and the case of their letters.
    pub fn is_reserved(&self, below: &str) -> bool {
        let minor = self.minor();
        let names = ["pyvenv.cfg", "bin", "lib", "lib64", "include", "bin/activate"];
        let interpreter = below.strip_prefix("bin/").is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            let version = name.strip_prefix("python3.");
            matches!(name.as_str(), "python" | "pythonw" | "python3")
                || version
                    .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
        });
        names.contains(&below)
            || interpreter
            || *below == format!("lib/python{minor}")
            || *below == format!("lib/python{minor}/site-packages")
    }

    /// Where the bytecode of a source file stands, as PEP 3147 names it.
    pub fn bytecode_path(&self, source: &str) -> Option<String> {
        let stem = source.strip_suffix(".py")?;
        let (folder, name) = match stem.rsplit_once('/') {
            Some((folder, name)) => (format!("{folder}/"), name),
            None => (String::new(), stem),
        };
        Some(format!("{folder}__pycache__/{name}.{}.pyc", self.cache_tag()))
    }

    /// What stands in the environment before any wheel, sorted by path.
    pub fn skeleton(&self) -> Vec<SkeletonEntry> {
        let (prefix, minor) = (&self.prefix, self.minor());
        let entry = |path: String, mode, kind| SkeletonEntry { path, mode, kind };
        let directory = |path: String| entry(path, 0o755, SkeletonKind::Directory);
        let link = |path: String, target: String| entry(path, 0o777, SkeletonKind::Symlink(target));
        let mut entries: Vec<SkeletonEntry> = prefix
            .match_indices('/')
            .map(|(cut, _)| prefix[..cut].to_owned())
            .chain([prefix.clone()])
            .map(directory)
            .collect();
        entries.extend([
            directory(format!("{prefix}/bin")),
            entry(
                format!("{prefix}/bin/activate"),
                0o644,
                SkeletonKind::File(self.activate().into_bytes()),
            ),
            link(
                format!("{prefix}/bin/python"),
                format!("{}/python{minor}", self.home),
            ),
            link(format!("{prefix}/bin/python3"), "python".into()),
            link(format!("{prefix}/bin/python{minor}"), "python".into()),
            directory(format!("{prefix}/include")),
            directory(format!("{prefix}/lib")),
            directory(format!("{prefix}/lib/python{minor}")),
            directory(self.site_packages()),
            link(format!("{prefix}/lib64"), "lib".into()),
            entry(
                format!("{prefix}/pyvenv.cfg"),
                0o644,
                SkeletonKind::File(self.configuration().into_bytes()),
            ),
        ]);
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        entries
    }

    fn configuration(&self) -> String {
        let Environment { home, python, .. } = self;
        format!("home = {home}\ninclude-system-site-packages = false\nversion = {python}\n")
    }

    fn activate(&self) -> String {
        format!(
            "# Source this file in sh or bash to work in the environment; `deactivate` leaves it.\n\
             deactivate() {{\n    PATH=\"$_COIL_OLD_PATH\"; export PATH\n    unset VIRTUAL_ENV _COIL_OLD_PATH\n    \
             unset -f deactivate\n}}\n_COIL_OLD_PATH=\"$PATH\"\nVIRTUAL_ENV=\"/{prefix}\"\n\
             PATH=\"$VIRTUAL_ENV/bin:$PATH\"\nexport VIRTUAL_ENV PATH\nunset PYTHONHOME\n",
            prefix = self.prefix
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_interpreter() {
        let environment = Environment::standard("3.11.2");
        assert_eq!(
            environment.site_packages(),
            "opt/venv/lib/python3.11/site-packages"
        );
        assert_eq!(
            environment.bytecode_path("a/b.py").as_deref(),
            Some("a/__pycache__/b.cpython-311.pyc")
        );
        assert_eq!(
            environment.bytecode_path("b.py").as_deref(),
            Some("__pycache__/b.cpython-311.pyc")
        );
        assert_eq!(environment.bytecode_path("b.pyi"), None);
        for (path, name) in [
            ("opt/venv/lib/python3.11/site-packages/a/b.py", "a/b.py"),
            ("opt/venv/bin/x", "../../../bin/x"),
            ("opt/venv/lib/libx.so", "../../libx.so"),
            ("opt/venv/lib/python3.11/x", "../x"),
            ("opt/venv/lib64/x", "../../../lib64/x"),
        ] {
            assert_eq!(environment.record_name(path), name);
        }
        assert!(environment.is_reserved("bin/python3.11"));
        assert!(!environment.is_reserved("bin/python-config"));
    }

    #[test]
    fn parents_come_before_what_they_hold() {
        let entries = Environment::standard("3.13.5").skeleton();
        let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths[..3], ["opt", "opt/venv", "opt/venv/bin"]);
        assert!(paths.contains(&"opt/venv/bin/python3.13"));
        assert!(paths.is_sorted());
    }
}
