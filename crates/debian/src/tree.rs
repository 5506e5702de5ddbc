//! The files of a base: what packages bring, less what nobody needs, plus what their scripts would have made.

use std::collections::{BTreeMap, HashSet};
use std::io;

use coil_oci::Arch;

use crate::control::paragraphs;
use crate::error::AssembleError;
use crate::linker_cache;
use crate::package_file::{Body, Content, Node, PackageFile};

/// The user that packed applications run as, and its group.
const APP_ID: u32 = 1000;
const SHADOW_GROUP: u32 = 42;

/// Folders that packages don't bring but that every Debian system has.
const FOLDERS: [(&str, u32); 21] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("run/lock", 0o1777),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/local/bin", 0o755),
    ("usr/local/etc", 0o755),
    ("usr/local/include", 0o755),
    ("usr/local/lib", 0o755),
    ("usr/local/sbin", 0o755),
    ("usr/local/share", 0o755),
    ("usr/local/src", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

/// Paths by name; `links` are the ones that go before all others.
pub struct Tree {
    /// The merged-/usr links.
    pub links: Vec<(String, String)>,
    /// All else.
    pub nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// An empty tree with the links from `/bin` and the like into `/usr`.
    pub fn new(arch: Arch) -> Tree {
        let mut names = vec!["bin", "lib", "sbin"];
        if arch == Arch::Amd64 {
            names.insert(2, "lib64");
        }
        let mut tree = Tree {
            links: Vec::new(),
            nodes: BTreeMap::new(),
        };
        for name in names {
            tree.links.push((name.to_string(), format!("usr/{name}")));
            tree.folder(&format!("usr/{name}"), 0o755);
        }
        tree
    }

    /// Where a path is when `/bin`, `/lib`, `/lib64` and `/sbin` are links into `/usr`; `None` for the links themselves.
    fn merged(&self, path: &str) -> Option<String> {
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let below = self.links.iter().any(|(name, _)| name == first) || first == "lib64";
        match (below, rest) {
            (true, "") => None,
            (true, _) => Some(format!("usr/{path}")),
            (false, _) => Some(path.to_string()),
        }
    }

    /// Adds a package's files; its record for dpkg comes back as the paths that it owns.
    pub fn add(&mut self, package: &PackageFile) -> Vec<String> {
        let mut owned = Vec::new();
        for (path, node) in &package.nodes {
            let Some(path) = self.merged(path) else { continue };
            if !is_kept(&path, node) {
                continue;
            }
            owned.push(path.clone());
            let is_folder = matches!(node.content, Content::Directory);
            if is_folder && self.nodes.contains_key(&path) {
                continue;
            }
            self.nodes.insert(path, node.clone());
        }
        owned
    }

    fn put(&mut self, path: &str, content: Content, mode: u32) -> &mut Node {
        let node = Node {
            content,
            mode,
            uid: 0,
            gid: 0,
        };
        let slot = self.nodes.entry(path.to_string()).or_insert_with(|| node.clone());
        *slot = node;
        slot
    }

    /// Puts a file there, in place of what was.
    pub fn file(&mut self, path: &str, text: impl Into<Vec<u8>>, mode: u32) {
        self.put(path, Content::File(Body::new(text.into())), mode);
    }

    /// Puts a link there, in place of what was.
    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, Content::Symlink(target.to_string()), 0o777);
    }

    /// Puts a folder there, unless there is one.
    pub fn folder(&mut self, path: &str, mode: u32) {
        if !matches!(
            self.nodes.get(path),
            Some(Node {
                content: Content::Directory,
                ..
            })
        ) {
            self.put(path, Content::Directory, mode);
        }
    }

    fn text(&self, path: &str) -> io::Result<Option<String>> {
        match self.nodes.get(path).map(|node| &node.content) {
            Some(Content::File(body)) => Ok(Some(String::from_utf8_lossy(&body.bytes()?).into_owned())),
            _ => Ok(None),
        }
    }

    /// The text of a file that every base has.
    fn needed(&self, path: &str) -> Result<String, AssembleError> {
        let what = path.rsplit('/').next().unwrap_or(path).to_string();
        let text = self
            .text(path)
            .map_err(|source| AssembleError::Store { source })?;
        text.ok_or(AssembleError::Incomplete { what })
    }

    /// Makes what maintainer scripts would have made; `day` is the day of accounts' last change, since 1970.
    ///
    /// # Errors
    /// What is missing that every base has, and what the disk gives.
    pub fn finish(&mut self, arch: Arch, python: &str, day: u64) -> Result<(), AssembleError> {
        let disk = |source| AssembleError::Store { source };
        for (path, mode) in FOLDERS {
            self.folder(path, mode);
        }
        self.link("var/run", "/run");
        self.link("var/lock", "/run/lock");
        self.accounts(day)?;
        for (from, to) in [("nsswitch.conf", "etc/nsswitch.conf"), ("profile", "etc/profile")] {
            if let Some(text) = self.text(&format!("usr/share/base-files/{from}")).map_err(disk)?
                && !self.nodes.contains_key(to)
            {
                self.file(to, text, 0o644);
            }
        }
        if !self.nodes.contains_key("usr/bin/sh") {
            self.link("usr/bin/sh", "dash");
        }
        if !self.nodes.contains_key("etc/os-release") {
            self.link("etc/os-release", "../usr/lib/os-release");
        }
        self.link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC");
        self.file("etc/timezone", "Etc/UTC\n", 0o644);
        let interpreter = format!("python{python}");
        if !self.nodes.contains_key(&format!("usr/bin/{interpreter}")) {
            let what = format!("/usr/bin/{interpreter}");
            return Err(AssembleError::Incomplete { what });
        }
        self.link("usr/bin/python3", &interpreter);
        self.link("usr/bin/python", "python3");
        self.folder(&format!("usr/local/lib/python{python}"), 0o755);
        self.folder(&format!("usr/local/lib/python{python}/dist-packages"), 0o755);
        self.folder("usr/lib/python3", 0o755);
        self.folder("usr/lib/python3/dist-packages", 0o755);
        self.certificates().map_err(disk)?;
        let libraries = self.libraries(arch).map_err(disk)?;
        self.file("etc/ld.so.cache", linker_cache::write(arch, &libraries), 0o644);
        Ok(())
    }

    /// Adds the folders that paths stand in but that nothing brought.
    pub fn complete(&mut self) {
        let mut missing = Vec::new();
        for path in self.nodes.keys() {
            let mut parent = path.as_str();
            while let Some((above, _)) = parent.rsplit_once('/') {
                if self.nodes.contains_key(above) {
                    break;
                }
                missing.push(above.to_string());
                parent = above;
            }
        }
        for path in missing {
            self.folder(&path, 0o755);
        }
    }

    /// The accounts of base-passwd's master files, and the one that applications run as.
    fn accounts(&mut self, day: u64) -> Result<(), AssembleError> {
        let has_bash = self.nodes.contains_key("usr/bin/bash");
        let masters = "usr/share/base-passwd";
        let passwd = self.needed(&format!("{masters}/passwd.master"))?;
        let group = self.needed(&format!("{masters}/group.master"))?;
        let (mut users, mut secrets) = (String::new(), String::new());
        for line in passwd.lines().filter(|line| !line.is_empty()) {
            let mut fields: Vec<&str> = line.split(':').collect();
            if let [name, password, .., shell] = fields.as_mut_slice() {
                *password = "x";
                if *shell == "/bin/bash" && !has_bash {
                    *shell = "/bin/sh";
                }
                secrets.push_str(&format!("{name}:*:{day}:0:99999:7:::\n"));
            }
            users.push_str(&fields.join(":"));
            users.push('\n');
        }
        users.push_str(&format!("app:x:{APP_ID}:{APP_ID}::/home/app:/bin/sh\n"));
        secrets.push_str(&format!("app:!:{day}:0:99999:7:::\n"));
        let mut groups: String = group
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let mut fields: Vec<&str> = line.split(':').collect();
                if let Some(password) = fields.get_mut(1) {
                    *password = "x";
                }
                fields.join(":") + "\n"
            })
            .collect();
        groups.push_str(&format!("app:x:{APP_ID}:\n"));
        self.file("etc/passwd", users, 0o644);
        self.file("etc/group", groups, 0o644);
        self.put(
            "etc/shadow",
            Content::File(Body::new(secrets.into_bytes())),
            0o640,
        )
        .gid = SHADOW_GROUP;
        let home = self.put("home/app", Content::Directory, 0o755);
        (home.uid, home.gid) = (APP_ID, APP_ID);
        Ok(())
    }

    /// One file of all certificate authorities, as `update-ca-certificates` makes it.
    fn certificates(&mut self) -> io::Result<()> {
        let folder = "usr/share/ca-certificates/";
        let mut bundle = Vec::new();
        let mut names = String::new();
        for (path, node) in self.nodes.range(folder.to_string()..) {
            let Some(name) = path.strip_prefix(folder) else {
                break;
            };
            if let (Content::File(body), true) = (&node.content, name.ends_with(".crt")) {
                bundle.extend_from_slice(&body.bytes()?);
                if !bundle.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
                names.push_str(name);
                names.push('\n');
            }
        }
        self.file("etc/ssl/certs/ca-certificates.crt", bundle, 0o644);
        self.file("etc/ca-certificates.conf", names, 0o644);
        // The places that OpenSSL was built to look at; the package with its command would bring these links.
        self.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt");
        self.link("usr/lib/ssl/certs", "/etc/ssl/certs");
        self.link("usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf");
        Ok(())
    }

    /// The libraries that the linker should know: of the folders that packages add, then of its default folders.
    fn libraries(&self, arch: Arch) -> io::Result<BTreeMap<String, String>> {
        let mut texts = Vec::new();
        for (path, node) in self.nodes.range("etc/ld.so.conf.d/".to_string()..) {
            let Some(name) = path.strip_prefix("etc/ld.so.conf.d/") else {
                break;
            };
            if let (Content::File(body), true) = (&node.content, name.ends_with(".conf")) {
                texts.push(String::from_utf8_lossy(&body.bytes()?).into_owned());
            }
        }
        let folders = linker_cache::folders(texts.iter().map(String::as_str), arch);
        let mut found = BTreeMap::new();
        for folder in folders {
            let Some(real) = self.merged(folder.trim_matches('/')) else {
                continue;
            };
            let below = format!("{real}/");
            for (path, node) in self.nodes.range(below.clone()..) {
                let Some(name) = path.strip_prefix(&below) else {
                    break;
                };
                let library = !name.contains('/')
                    && name.contains(".so")
                    && (name.starts_with("lib") || name.starts_with("ld-"));
                let Content::File(body) = &node.content else {
                    continue;
                };
                if !library {
                    continue;
                }
                let Some(soname) = linker_cache::soname(&body.bytes()?) else {
                    continue;
                };
                if self.nodes.contains_key(&format!("{below}{soname}")) && !soname.contains('/') {
                    let path = format!("{}/{soname}", folder.trim_end_matches('/'));
                    found.entry(soname).or_insert(path);
                }
            }
        }
        Ok(found)
    }

    /// Writes dpkg's list of what is installed, by which scanners know the packages.
    ///
    /// Each package comes with the paths that it owns.
    pub fn dpkg_status(&mut self, packages: &[(&PackageFile, Vec<String>)]) {
        let mut status = String::new();
        for (package, owned) in packages {
            let Some(record) = dpkg_record(package, owned, &|path| self.merged(path)) else {
                continue;
            };
            status.push_str(&record.status);
            self.file(&format!("{}.list", record.base), record.list, 0o644);
            self.file(&format!("{}.md5sums", record.base), record.md5sums, 0o644);
        }
        self.file("var/lib/dpkg/status", status, 0o644);
    }
}

/// What dpkg keeps of one package.
pub(crate) struct DpkgRecord {
    /// The package.
    pub name: String,
    /// Its paragraph in the list of what is installed, with the empty line behind.
    pub status: String,
    /// The path of its files' list and digests, without their endings.
    pub base: String,
    /// The list of its files.
    pub list: String,
    /// Their digests.
    pub md5sums: String,
}

/// Makes dpkg's record of a package; `merged` says where a path of its digests' list really is.
pub(crate) fn dpkg_record(
    package: &PackageFile,
    owned: &[String],
    merged: &dyn Fn(&str) -> Option<String>,
) -> Option<DpkgRecord> {
    let control = paragraphs(&package.control).next()?;
    let (name, arch) = (
        control.get("Package").unwrap_or_default(),
        control.get("Architecture").unwrap_or_default(),
    );
    let mut status = format!("Package: {name}\nStatus: install ok installed\n");
    for line in package
        .control
        .lines()
        .filter(|line| !line.starts_with("Package:"))
    {
        status.push_str(line);
        status.push('\n');
    }
    status.push('\n');
    let base = match control.get("Multi-Arch") {
        Some("same") => format!("var/lib/dpkg/info/{name}:{arch}"),
        _ => format!("var/lib/dpkg/info/{name}"),
    };
    let list = owned
        .iter()
        .fold("/.\n".to_string(), |all, path| all + "/" + path + "\n");
    let owned: HashSet<&str> = owned.iter().map(String::as_str).collect();
    let mut md5sums = String::new();
    for line in package.md5sums.lines() {
        let Some((sum, path)) = line.split_once("  ") else {
            continue;
        };
        if merged(path).is_some_and(|path| owned.contains(path.as_str())) {
            md5sums.push_str(&format!("{sum}  {path}\n"));
        }
    }
    Some(DpkgRecord {
        name: name.to_string(),
        status,
        base,
        list,
        md5sums,
    })
}

/// Whether a path goes into the layer: documentation, translations and time zones with leap seconds don't, licences do.
pub(crate) fn is_kept(path: &str, node: &Node) -> bool {
    const DROPPED: [&str; 11] = [
        "usr/share/bug",
        "usr/share/doc-base",
        "usr/share/info",
        "usr/share/linda",
        "usr/share/lintian",
        "usr/share/locale",
        "usr/share/man",
        "usr/share/menu",
        "usr/share/pixmaps",
        "usr/share/zoneinfo/posix",
        "usr/share/zoneinfo/right",
    ];
    let below = |folder: &str| {
        path == folder
            || path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    if DROPPED.iter().any(|folder| below(folder)) {
        return false;
    }
    if below("usr/share/doc") {
        let name = path.rsplit('/').next().unwrap_or_default();
        return name == "copyright"
            || (matches!(node.content, Content::Symlink(_)) && path.matches('/').count() == 3);
    }
    // PEP 668: in an image of one application nobody else manages the interpreter's packages.
    !(path.starts_with("usr/lib/python3") && path.ends_with("/EXTERNALLY-MANAGED"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(content: Content) -> Node {
        Node {
            content,
            mode: 0o644,
            uid: 0,
            gid: 0,
        }
    }

    #[test]
    fn what_is_kept() {
        let file = node(Content::File(Body::new(Vec::new())));
        let link = node(Content::Symlink("x".into()));
        for (path, kept) in [
            ("usr/bin/ls", true),
            ("usr/share/man/man1/ls.1.gz", false),
            ("usr/share/mankind", true),
            ("usr/share/doc/a/copyright", true),
            ("usr/share/doc/a/changelog.gz", false),
            ("usr/lib/python3.11/EXTERNALLY-MANAGED", false),
            ("usr/share/locale/de/x.mo", false),
        ] {
            assert_eq!(is_kept(path, &file), kept, "{path}");
        }
        assert!(is_kept("usr/share/doc/a", &link));
        assert!(!is_kept("usr/share/doc/a/examples/b", &link));
    }

    #[test]
    fn everything_is_below_usr() {
        let mut tree = Tree::new(Arch::Arm64);
        let nodes = ["bin", "bin/ls", "lib", "lib/ld.so", "lib64", "etc/x"]
            .map(|path| (path.to_string(), node(Content::File(Body::new(Vec::new())))));
        let package = PackageFile {
            control: String::new(),
            md5sums: String::new(),
            nodes: nodes.to_vec(),
        };
        assert_eq!(tree.add(&package), ["usr/bin/ls", "usr/lib/ld.so", "etc/x"]);
        tree.complete();
        assert!(tree.nodes.contains_key("usr"));
        let links: Vec<_> = tree.links.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(links, ["bin", "lib", "sbin"]);
        assert_eq!(
            Tree::new(Arch::Amd64).links[2],
            ("lib64".to_string(), "usr/lib64".to_string())
        );
    }

    #[test]
    fn accounts_have_no_password() {
        let mut tree = Tree::new(Arch::Amd64);
        tree.file(
            "usr/share/base-passwd/passwd.master",
            "root::0:0:root:/root:/bin/bash\n",
            0o644,
        );
        tree.file("usr/share/base-passwd/group.master", "root:*:0:\n", 0o644);
        tree.accounts(3).unwrap();
        assert_eq!(
            tree.text("etc/passwd").unwrap().unwrap(),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
        );
        assert_eq!(
            tree.text("etc/group").unwrap().unwrap(),
            "root:x:0:\napp:x:1000:\n"
        );
        assert_eq!(
            tree.text("etc/shadow").unwrap().unwrap(),
            "root:*:3:0:99999:7:::\napp:!:3:0:99999:7:::\n"
        );
        assert_eq!(tree.nodes["home/app"].uid, 1000);
    }
}
