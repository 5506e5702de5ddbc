//! What an image from elsewhere says of its operating system: name, C library, packages, users.

use std::collections::BTreeMap;
use std::fs::File;

use coil_debian::{Installed, InstalledPackage};
use coil_elf::{Elf, FileSource};
use coil_oci::Arch;
use coil_python::Libc;

use crate::base::BasePackage;
use crate::image_tree::{ImageTree, Node};

/// More than any list of packages or C library has.
const LIMIT: u64 = 64 << 20;

/// `/etc/os-release`, as far as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OsRelease {
    /// `debian`, `ubuntu`, `alpine`.
    pub(crate) id: String,
    /// `bookworm`.
    pub(crate) codename: String,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub(crate) name: String,
}

impl OsRelease {
    /// Reads it; all is empty where there is none.
    pub(crate) fn read(tree: &ImageTree) -> OsRelease {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| tree.text(path, LIMIT))
            .unwrap_or_default();
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .map(|(name, value)| (name, value.trim().trim_matches(['"', '\''])))
            .collect();
        let get = |name: &str| fields.get(name).map(|value| (*value).to_owned());
        let id = get("ID").unwrap_or_default();
        OsRelease {
            name: get("PRETTY_NAME").or(get("NAME")).unwrap_or_else(|| id.clone()),
            codename: get("VERSION_CODENAME").unwrap_or_default(),
            id,
        }
    }

    /// Debian's suite, where it is Debian itself.
    pub(crate) fn suite(&self) -> Option<&str> {
        let codename = match self.codename.as_str() {
            // A moving suite calls itself by the name that it will have.
            "" => None,
            name => Some(name),
        };
        codename.filter(|_| self.id == "debian")
    }
}

/// An ELF file of an image.
pub(crate) fn read_elf(tree: &ImageTree, path: &str) -> Option<Elf> {
    let (_, place) = tree.file(path)?;
    let mut source = FileSource::new(File::open(place).ok()?).ok()?;
    coil_elf::read(&mut source).ok()
}

/// The C library that a program's linker (`PT_INTERP`) belongs to, and its version.
pub(crate) fn libc_of(tree: &ImageTree, loader: &str, arch: Arch) -> Option<Libc> {
    if loader.contains("ld-musl-") {
        let bytes = tree.read(loader, LIMIT)?;
        // The library's own version stands in it as `1.2.4`, ended by a zero.
        let (major, minor) = versions(&bytes, b"1.").into_iter().next()?;
        return Some(Libc::Musl(major, minor));
    }
    let folder = tree.find(loader)?.path;
    let folder = folder
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
        .to_owned();
    let triplet = arch.triplet();
    let candidates = [
        folder,
        format!("/lib/{triplet}"),
        format!("/usr/lib/{triplet}"),
        "/lib64".into(),
        "/usr/lib64".into(),
        "/lib".into(),
        "/usr/lib".into(),
    ];
    candidates
        .iter()
        .find_map(|folder| glibc(tree, &format!("{folder}/libc.so.6")))
}

/// glibc's version: of its banner, else the highest that its symbols have.
fn glibc(tree: &ImageTree, path: &str) -> Option<Libc> {
    let bytes = tree.read(path, LIMIT)?;
    let banner = find(&bytes, b"GNU C Library ").and_then(|at| {
        let line = bytes[at..].split(|byte| matches!(byte, b'\n' | 0)).next()?;
        let line = String::from_utf8_lossy(line).into_owned();
        let version = line.split("release version ").nth(1)?;
        numbers(version)
    });
    let symbols = || {
        let elf = read_elf(tree, path)?;
        let versions = elf.defines.iter();
        versions
            .filter_map(|version| numbers(version.strip_prefix("GLIBC_")?))
            .max()
    };
    let (major, minor) = banner.or_else(symbols)?;
    Some(Libc::Glibc(major, minor))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// `2.36` of `2.36-9+deb12u4`.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Versions of three numbers that stand alone between zero bytes: the first two numbers of each.
fn versions(bytes: &[u8], prefix: &[u8]) -> Vec<(u32, u32)> {
    let texts = bytes.split(|byte| *byte == 0);
    let mut found: Vec<(u32, u32)> = texts
        .filter(|text| text.starts_with(prefix) && (5..=12).contains(&text.len()))
        .filter_map(|text| {
            let text = std::str::from_utf8(text).ok()?;
            let three = text.split('.').count() == 3 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            three.then(|| numbers(text)).flatten()
        })
        .collect();
    found.dedup();
    found
}

/// The C library of an image in which nothing has to run yet.
pub(crate) fn any_libc(tree: &ImageTree, arch: Arch) -> Option<Libc> {
    let machine = arch.machine();
    let loaders = [
        "/lib64/ld-linux-x86-64.so.2".to_owned(),
        "/lib/ld-linux-aarch64.so.1".to_owned(),
        format!(
            "/lib/{}/ld-linux-{}.so.2",
            arch.triplet(),
            machine.replace('_', "-")
        ),
        format!("/lib/ld-musl-{machine}.so.1"),
    ];
    loaders.iter().find_map(|loader| libc_of(tree, loader, arch))
}

/// The installed packages of an image, and Debian's list of them where it has one.
pub(crate) fn packages(
    tree: &ImageTree,
    os: &OsRelease,
    arch: Arch,
) -> (Vec<BasePackage>, Option<Installed>) {
    if let Some(status) = dpkg_status(tree) {
        let suite = os.suite().unwrap_or_default();
        let installed = Installed::from_status(suite, arch, &status);
        let packages = installed.packages.iter().map(of_debian).collect();
        return (packages, Some(installed));
    }
    let apk = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
    match apk.iter().find_map(|path| tree.text(path, LIMIT)) {
        Some(text) => (of_apk(&text), None),
        None => (Vec::new(), None),
    }
}

fn of_debian(package: &InstalledPackage) -> BasePackage {
    let source = package.source.as_deref();
    // `glibc (2.36-9)` names a version of its own.
    let source = source.map(|source| source.split(' ').next().unwrap_or(source).to_owned());
    BasePackage {
        name: package.name.clone(),
        version: package.version.clone(),
        arch: package.arch.clone(),
        source,
    }
}

/// dpkg's list, or the files of which images without dpkg have one for each package.
fn dpkg_status(tree: &ImageTree) -> Option<String> {
    if let Some(text) = tree.text("/var/lib/dpkg/status", LIMIT)
        && !text.trim().is_empty()
    {
        return Some(text);
    }
    let folder = "/var/lib/dpkg/status.d";
    let mut text = String::new();
    for (name, node) in tree.list(folder).ok()? {
        if matches!(node, Node::File(_)) && !name.ends_with(".md5sums") {
            text.push_str(tree.text(&format!("{folder}/{name}"), LIMIT)?.trim());
            text.push_str("\n\n");
        }
    }
    (!text.is_empty()).then_some(text)
}

/// Alpine's list: one letter a field, an empty line after each package.
fn of_apk(text: &str) -> Vec<BasePackage> {
    let mut packages: Vec<BasePackage> = text
        .split("\n\n")
        .filter_map(|paragraph| {
            let field = |letter: &str| {
                let mut lines = paragraph.lines();
                lines
                    .find_map(|line| line.strip_prefix(letter))
                    .map(str::to_owned)
            };
            let name = field("P:")?;
            Some(BasePackage {
                version: field("V:")?,
                arch: field("A:").unwrap_or_default(),
                source: field("o:").filter(|source| *source != name),
                name,
            })
        })
        .collect();
    packages.sort();
    packages
}

/// The numbers of a user as an image's configuration has it: `app`, `1000`, `app:staff`; none where it names nobody known.
pub(crate) fn user_numbers(tree: &ImageTree, user: &str) -> Option<(u32, u32)> {
    let lookup = |file: &str, name: &str| -> Option<(u32, Option<u32>)> {
        let text = tree.text(file, LIMIT)?;
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (first, _, id) = (fields.next()?, fields.next()?, fields.next()?);
            if first != name && id != name {
                return None;
            }
            Some((
                id.parse().ok()?,
                fields.next().and_then(|group| group.parse().ok()),
            ))
        })
    };
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let known = lookup("/etc/passwd", name);
    let uid = name.parse().ok().or(known.map(|(uid, _)| uid))?;
    let gid = match group {
        Some(group) => group
            .parse()
            .ok()
            .or_else(|| lookup("/etc/group", group).map(|(gid, _)| gid))?,
        None => known.and_then(|(_, gid)| gid).unwrap_or(0),
    };
    Some((uid, gid))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &[u8])]) -> (tempfile::TempDir, ImageTree) {
        let root = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let tree = ImageTree::new(vec![root.path().to_owned()]);
        (root, tree)
    }

    #[test]
    fn systems_and_their_packages() {
        let status = b"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36)\n\
            Version: 2.36-9\n\nPackage: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
        let (_root, debian) = tree(&[
            (
                "usr/lib/os-release",
                b"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_CODENAME=bookworm\n",
            ),
            ("var/lib/dpkg/status", status),
            (
                "etc/passwd",
                b"root:x:0:0::/root:/bin/sh\napp:x:1001:1002::/:/bin/sh\n",
            ),
            ("etc/group", b"staff:x:50:\n"),
        ]);
        let os = OsRelease::read(&debian);
        assert_eq!(os.suite(), Some("bookworm"));
        let (packages, installed) = packages(&debian, &os, Arch::Amd64);
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].source.as_deref(), Some("glibc"));
        assert_eq!(installed.unwrap().suite, "bookworm");
        for (user, numbers) in [
            ("app", Some((1001, 1002))),
            ("app:staff", Some((1001, 50))),
            ("1001", Some((1001, 1002))),
            ("7", Some((7, 0))),
            ("7:8", Some((7, 8))),
            ("nobody", None),
        ] {
            assert_eq!(user_numbers(&debian, user), numbers, "{user}");
        }
    }

    #[test]
    fn distroless_and_alpine_lists() {
        let (_root, distroless) = tree(&[
            (
                "var/lib/dpkg/status.d/base",
                b"Package: base-files\nVersion: 12\nArchitecture: amd64\n",
            ),
            ("var/lib/dpkg/status.d/base.md5sums", b"0 x\n"),
            (
                "var/lib/dpkg/status.d/tz",
                b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
            ),
        ]);
        let (names, _) = packages(&distroless, &OsRelease::default(), Arch::Amd64);
        let names: Vec<&str> = names.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["base-files", "tzdata"]);
        let (_root, alpine) = tree(&[(
            "lib/apk/db/installed",
            b"C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\nP:libssl3\nV:3.1\nA:x86_64\no:openssl\n",
        )]);
        let (found, installed) = packages(&alpine, &OsRelease::default(), Arch::Amd64);
        assert!(installed.is_none());
        assert_eq!(found[0].name, "libssl3");
        assert_eq!(found[0].source.as_deref(), Some("openssl"));
        assert_eq!(found[1].source, None);
    }

    #[test]
    fn libraries_tell_their_version() {
        let musl = b"\x7fELF..\0musl libc (x86_64)\nVersion %s\n\x001.2.4\0more\x001.23\0";
        let glibc = b"..GNU C Library (Debian GLIBC 2.36-9+deb12u4) stable release version 2.36.\nCopyright";
        let (_root, image) = tree(&[
            ("lib/ld-musl-x86_64.so.1", musl),
            ("lib64/ld-linux-x86-64.so.2", b"x"),
            ("usr/lib64/libc.so.6", glibc),
        ]);
        let amd64 = Arch::Amd64;
        assert_eq!(
            libc_of(&image, "/lib/ld-musl-x86_64.so.1", amd64),
            Some(Libc::Musl(1, 2))
        );
        assert_eq!(
            libc_of(&image, "/lib64/ld-linux-x86-64.so.2", amd64),
            Some(Libc::Glibc(2, 36))
        );
        assert_eq!(any_libc(&image, amd64), Some(Libc::Glibc(2, 36)));
    }
}
