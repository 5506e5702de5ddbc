//! Packages put into a folder as dpkg leaves them before their scripts have run.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use coil_fetch::Progress;
use coil_oci::Arch;

use crate::Archive;
use crate::arrivals::Arrivals;
use crate::assemble::in_parallel;
use crate::control::paragraphs;
use crate::error::AssembleError;
use crate::package_file::{PackageFault, clean, next_member, read_member};
use crate::pinned::PinnedPackage;
use crate::system::{PinnedSystem, in_order_of_need, wants_configured};

/// An unpacker holds the window of its compression.
const MOST_UNPACKERS: usize = 4;
/// More than any control file has.
const LONGEST_CONTROL: u64 = 64 << 20;

/// A package that was unpacked, in the order in which its scripts should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, `all` where it has none.
    pub arch: String,
    /// Its name in dpkg's folder: with the architecture where several may be installed together.
    pub file_name: String,
    /// Whether it has a script that runs before it is unpacked.
    pub has_preinst: bool,
}

/// What a package's control archive holds.
struct Control {
    /// Names, contents and modes.
    members: BTreeMap<String, (Vec<u8>, u32)>,
}

impl Control {
    fn text(&self, name: &str) -> String {
        self.members
            .get(name)
            .map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())
            .unwrap_or_default()
    }
}

/// Says where a path of a package goes, relative to the folder; `None` for nowhere.
pub type Place<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

impl Archive {
    /// Unpacks a system's base into an empty folder, with dpkg's lists of it; no script has run afterwards.
    ///
    /// `is_kept` says which paths (`usr/share/man/…`) are unpacked; those left out stay in dpkg's lists, as `path-exclude` has it.
    ///
    /// # Errors
    /// When a package can't be had or read, or the folder can't be written.
    pub fn unpack_system(
        &self,
        system: &PinnedSystem,
        arrivals: &Arrivals<'_>,
        folder: &Path,
        is_kept: &(dyn Fn(&str) -> bool + Sync),
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Vec<UnpackedPackage>, AssembleError> {
        let disk = |source| AssembleError::Store { source };
        let arch = [Arch::Amd64, Arch::Arm64]
            .into_iter()
            .find(|arch| arch.debian() == system.arch);
        let arch = arch.ok_or_else(|| AssembleError::UnknownArch {
            arch: system.arch.clone(),
        })?;
        let merged = merged_folders(arch);
        for name in &merged {
            fs::create_dir_all(folder.join("usr").join(name)).map_err(disk)?;
            symlink(format!("usr/{name}"), folder.join(name)).map_err(disk)?;
        }
        let place = |path: &str| {
            let (first, rest) = path.split_once('/').unwrap_or((path, ""));
            let below = merged.contains(&first);
            match (below, rest) {
                (true, "") => None,
                (true, _) => Some(format!("usr/{path}")).filter(|path| is_kept(path)),
                (false, _) => Some(path.to_string()).filter(|path| is_kept(path)),
            }
        };
        let unpacker = Unpacker::new(folder);
        let items = system.base_in_order();
        let job = |package: &&PinnedPackage| {
            let path = arrivals.wait(package)?;
            unpack_one(&unpacker, package, &path, &place)
        };
        let (first, others) = items.split_at(1.min(items.len()));
        let mut unpacked = in_parallel(first, 1, job)?;
        progress.note("unpacking Debian's packages");
        unpacked.extend(in_parallel(others, threads.min(MOST_UNPACKERS), job)?);
        let mut packages: Vec<_> = items.into_iter().zip(unpacked).collect();
        packages.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        unpacker.finish().map_err(disk)?;
        write_database(folder, &packages, &system.arch).map_err(disk)
    }

    /// The files of packages, so that each comes after those that it needs; each with whether those before it
    /// must be configured before it is unpacked.
    ///
    /// # Errors
    /// When a package can't be had or read.
    pub fn in_order(
        &self,
        system: &PinnedSystem,
        arrivals: &Arrivals<'_>,
        packages: &[PinnedPackage],
    ) -> Result<Vec<(PathBuf, bool)>, AssembleError> {
        let paths: Vec<PathBuf> = packages
            .iter()
            .map(|package| arrivals.wait(package))
            .collect::<Result<_, _>>()?;
        let items: Vec<(&PinnedPackage, &PathBuf)> = packages.iter().zip(&paths).collect();
        let controls = in_parallel(&items, MOST_UNPACKERS, |(package, path)| {
            control_text(path).map_err(|fault| match fault {
                PackageFault::Disk(source) => AssembleError::Store { source },
                PackageFault::Malformed(reason) => AssembleError::Malformed {
                    package: format!("{} {}", package.name, package.version),
                    reason,
                },
            })
        })?;
        let wants = wants_configured(&controls, &system.arch);
        let order = in_order_of_need(&controls, &system.arch).into_iter();
        Ok(order.map(|at| (paths[at].clone(), wants[at])).collect())
    }

    /// Puts files of packages where `place` says; nothing tells dpkg of them.
    ///
    /// # Errors
    /// As [`Archive::unpack_system`].
    pub fn unpack_files(
        &self,
        arrivals: &Arrivals<'_>,
        packages: &[PinnedPackage],
        folder: &Path,
        place: Place<'_>,
    ) -> Result<(), AssembleError> {
        let unpacker = Unpacker::new(folder);
        in_parallel(packages, MOST_UNPACKERS.min(2), |package| {
            let path = arrivals.wait(package)?;
            unpack_one(&unpacker, package, &path, place).map(|_| ())
        })?;
        unpacker
            .finish()
            .map_err(|source| AssembleError::Store { source })
    }
}

/// The folders of the root that are links into `/usr`.
fn merged_folders(arch: Arch) -> Vec<&'static str> {
    let mut names = vec!["bin", "lib", "sbin"];
    if arch == Arch::Amd64 {
        names.push("lib64");
    }
    names
}

/// A package's control files, its paths as it ships them.
type Unpacked = (Control, Vec<String>);

fn unpack_one(
    unpacker: &Unpacker<'_>,
    package: &PinnedPackage,
    path: &Path,
    place: Place<'_>,
) -> Result<Unpacked, AssembleError> {
    let name = || format!("{} {}", package.name, package.version);
    let disk = |source| AssembleError::Store { source };
    let deb = fs::File::open(path).map_err(disk)?;
    parse(deb, unpacker, &package.name, place).map_err(|fault| match fault {
        PackageFault::Disk(source) => AssembleError::Store { source },
        PackageFault::Malformed(reason) => AssembleError::Malformed {
            package: name(),
            reason,
        },
    })
}

fn parse(
    mut deb: impl Read,
    unpacker: &Unpacker<'_>,
    name: &str,
    place: Place<'_>,
) -> Result<Unpacked, PackageFault> {
    let mut magic = [0; 8];
    if deb.read_exact(&mut magic).is_err() || magic != *b"!<arch>\n" {
        return Err("it is not a .deb file".into());
    }
    let mut control: Option<Control> = None;
    let mut paths = None;
    while let Some((member_name, size)) = next_member(&mut deb)? {
        let mut member = (&mut deb).take(size);
        if member_name.starts_with("control.tar") {
            control = Some(read_member(&member_name, &mut member, &mut read_control)?);
        } else if member_name.starts_with("data.tar") {
            let conffiles = control.as_ref().map(conffiles).unwrap_or_default();
            let mut read = |tar: &mut dyn Read| unpacker.unpack(tar, name, &conffiles, place);
            paths = Some(read_member(&member_name, &mut member, &mut read)?);
        }
        let broken = |_| PackageFault::from("its ar archive is damaged");
        io::copy(&mut member, &mut io::sink()).map_err(broken)?;
        if member.limit() > 0 {
            return Err("its ar archive is damaged".into());
        }
        io::copy(&mut (&mut deb).take(size % 2), &mut io::sink()).map_err(broken)?;
    }
    Ok((
        control.ok_or("it has no control.tar")?,
        paths.ok_or("it has no data.tar")?,
    ))
}

/// The control file of a package, and no more of it.
fn control_text(path: &Path) -> Result<String, PackageFault> {
    let mut deb = io::BufReader::new(fs::File::open(path).map_err(PackageFault::Disk)?);
    let mut magic = [0; 8];
    deb.read_exact(&mut magic).map_err(PackageFault::Disk)?;
    while let Some((name, size)) = next_member(&mut deb)? {
        let mut member = (&mut deb).take(size);
        if name.starts_with("control.tar") {
            let control = read_member(&name, &mut member, &mut read_control)?;
            return Ok(control.text("control").trim_end().to_string());
        }
        io::copy(&mut member, &mut io::sink()).map_err(PackageFault::Disk)?;
        io::copy(&mut (&mut deb).take(size % 2), &mut io::sink()).map_err(PackageFault::Disk)?;
    }
    Err("it has no control.tar".into())
}

fn read_control(tar: &mut dyn Read) -> Result<Control, PackageFault> {
    let damaged = |error: io::Error| PackageFault::Malformed(format!("its control.tar is damaged: {error}"));
    let mut members = BTreeMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = clean(&entry.path_bytes())?;
        if !entry.header().entry_type().is_file() || path.contains('/') {
            continue;
        }
        let mode = entry.header().mode().map_err(damaged)? & 0o755;
        let mut bytes = Vec::new();
        (&mut entry)
            .take(LONGEST_CONTROL)
            .read_to_end(&mut bytes)
            .map_err(damaged)?;
        members.insert(path, (bytes, mode));
    }
    Ok(Control { members })
}

/// The configuration files, as dpkg calls what it never overwrites without asking.
fn conffiles(control: &Control) -> HashSet<String> {
    let text = control.text("conffiles");
    let paths = text.lines().filter_map(|line| line.strip_prefix('/'));
    paths.map(str::to_string).collect()
}

/// Writes files of several packages into one folder at the same time.
struct Unpacker<'a> {
    folder: &'a Path,
    /// Folders that are known to be real ones.
    folders: Mutex<BTreeSet<String>>,
    /// Modes of folders that don't let their owner write, set at the end.
    late: Mutex<Vec<(PathBuf, u32)>>,
}

impl<'a> Unpacker<'a> {
    fn new(folder: &'a Path) -> Unpacker<'a> {
        Unpacker {
            folder,
            folders: Mutex::new(BTreeSet::new()),
            late: Mutex::new(Vec::new()),
        }
    }

    fn finish(self) -> io::Result<()> {
        let late = self.late.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (path, mode) in late {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// Unpacks a data archive; gives the paths that it holds, as it names them.
    fn unpack(
        &self,
        tar: &mut dyn Read,
        package: &str,
        conffiles: &HashSet<String>,
        place: Place<'_>,
    ) -> Result<Vec<String>, PackageFault> {
        let damaged = |error: io::Error| PackageFault::Malformed(format!("its tar file is damaged: {error}"));
        let mut paths = Vec::new();
        let mut archive = tar::Archive::new(tar);
        for entry in archive.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            let path = clean(&entry.path_bytes())?;
            if path.is_empty() {
                continue;
            }
            let target = place(&path);
            if let Some(target) = target {
                let is_conffile = conffiles.contains(&path);
                self.entry(&mut entry, &target, is_conffile, place)
                    .map_err(|fault| match fault {
                        PackageFault::Malformed(reason) => {
                            PackageFault::Malformed(format!("/{path} of {package}: {reason}"))
                        }
                        other => other,
                    })?;
            }
            paths.push(path);
        }
        Ok(paths)
    }

    fn entry(
        &self,
        entry: &mut tar::Entry<'_, &mut dyn Read>,
        target: &str,
        is_conffile: bool,
        place: Place<'_>,
    ) -> Result<(), PackageFault> {
        let broken = |error: io::Error| PackageFault::Malformed(error.to_string());
        let disk = PackageFault::Disk;
        let header = entry.header();
        let kind = header.entry_type();
        let mode = header.mode().map_err(broken)? & 0o7777;
        let id = |value: io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let owner = (id(header.uid()), id(header.gid()));
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(header.mtime().unwrap_or(0));
        if kind.is_dir() {
            let made = self.make_folder(target)?;
            if made {
                let path = self.folder.join(target);
                own(&path, owner).map_err(disk)?;
                if mode & 0o200 == 0 {
                    let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                    late.push((path, mode));
                } else {
                    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(disk)?;
                }
            }
            return Ok(());
        }
        if let Some((above, _)) = target.rsplit_once('/') {
            self.make_folder(above)?;
        }
        let mut path = self.folder.join(target);
        if kind.is_symlink() {
            let link = entry.link_name_bytes().ok_or("a link has no target")?;
            let link = String::from_utf8(link.into_owned()).map_err(|_| "a link's target is not UTF-8")?;
            return symlink(link, &path).map_err(disk);
        }
        if kind.is_hard_link() {
            let link = entry.link_name_bytes().ok_or("a link has no target")?;
            let from = place(&clean(&link)?).ok_or("a hard link leads to what is left out")?;
            return fs::hard_link(self.folder.join(from), &path).map_err(disk);
        }
        if !kind.is_file() {
            return Err("it is neither file nor folder nor link".into());
        }
        if is_conffile {
            path.as_mut_os_string().push(".dpkg-new");
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(disk)?;
        let copied = copy(entry, &mut file);
        copied?;
        // Owner before mode: a change of owner takes the set-id bits away.
        own(&path, owner).map_err(disk)?;
        file.set_permissions(Permissions::from_mode(mode)).map_err(disk)?;
        file.set_modified(time).map_err(disk)
    }

    /// Makes a folder and those above it; whether the folder itself was made.
    ///
    /// Never follows a link out: each part must be a folder.
    fn make_folder(&self, target: &str) -> Result<bool, PackageFault> {
        let mut known = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(target) {
            return Ok(false);
        }
        let mut made = false;
        let ends = target.match_indices('/').map(|(at, _)| at).chain([target.len()]);
        for end in ends {
            let part = &target[..end];
            if known.contains(part) {
                continue;
            }
            let path = self.folder.join(part);
            made = false;
            match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => return Err(format!("/{part} is no folder").into()),
                Err(_) => {
                    fs::create_dir(&path)
                        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
                        .map_err(PackageFault::Disk)?;
                    made = true;
                }
            }
            known.insert(part.to_string());
        }
        Ok(made)
    }
}

fn own(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    if uid == 0 && gid == 0 {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))
}

/// Copies, and tells a damaged package from a disk that is full.
fn copy(source: &mut dyn Read, file: &mut fs::File) -> Result<(), PackageFault> {
    use std::io::Write;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => file.write_all(&buffer[..read]).map_err(PackageFault::Disk)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PackageFault::Malformed(error.to_string())),
        }
    }
}

/// Writes dpkg's folder: every package is unpacked and waits for its scripts.
fn write_database(
    folder: &Path,
    packages: &[(&PinnedPackage, Unpacked)],
    arch: &str,
) -> io::Result<Vec<UnpackedPackage>> {
    let dpkg = folder.join("var/lib/dpkg");
    for name in ["info", "parts", "triggers", "updates"] {
        fs::create_dir_all(dpkg.join(name))?;
    }
    fs::write(dpkg.join("available"), "")?;
    fs::write(dpkg.join("info/format"), "1\n")?;
    let mut status = String::new();
    let mut triggers: BTreeMap<String, String> = BTreeMap::new();
    let mut unpacked = Vec::with_capacity(packages.len());
    let mut controls = Vec::with_capacity(packages.len());
    for (package, (control, paths)) in packages {
        let text = control.text("control").trim_end().to_string();
        let paragraph = paragraphs(&text).next();
        let field = |name: &str| paragraph.and_then(|found| found.get(name)).unwrap_or_default();
        let own_arch = field("Architecture").to_string();
        let file_name = match field("Multi-Arch") {
            "same" => format!("{}:{own_arch}", package.name),
            _ => package.name.clone(),
        };
        status.push_str(&format!(
            "Package: {}\nStatus: install ok unpacked\n",
            package.name
        ));
        for line in text.lines().filter(|line| !line.starts_with("Package:")) {
            status.push_str(line);
            status.push('\n');
        }
        let conffiles = control.text("conffiles");
        let conffiles: Vec<&str> = conffiles.lines().filter(|line| line.starts_with('/')).collect();
        if !conffiles.is_empty() {
            status.push_str("Conffiles:\n");
            for path in conffiles {
                status.push_str(&format!(" {path} newconffile\n"));
            }
        }
        status.push('\n');
        let info = dpkg.join("info");
        for (name, (bytes, mode)) in &control.members {
            if name == "control" {
                continue;
            }
            let path = info.join(format!("{file_name}.{name}"));
            fs::write(&path, bytes)?;
            fs::set_permissions(path, Permissions::from_mode(*mode))?;
        }
        let list = paths
            .iter()
            .fold("/.\n".to_string(), |all, path| all + "/" + path + "\n");
        fs::write(info.join(format!("{file_name}.list")), list)?;
        add_triggers(&mut triggers, &control.text("triggers"), &file_name);
        unpacked.push(UnpackedPackage {
            name: package.name.clone(),
            version: package.version.clone(),
            arch: own_arch,
            file_name,
            has_preinst: control.members.contains_key("preinst"),
        });
        controls.push(text);
    }
    fs::write(dpkg.join("status"), status)?;
    for (name, text) in triggers {
        fs::write(dpkg.join("triggers").join(name), text)?;
    }
    let order = in_order_of_need(&controls, arch);
    Ok(order.into_iter().map(|at| unpacked[at].clone()).collect())
}

/// Notes which triggers a package waits for (deb-triggers(5)): those of paths in one file, each other one in its own.
fn add_triggers(triggers: &mut BTreeMap<String, String>, text: &str, package: &str) {
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (Some(kind), Some(name)) = (words.next(), words.next()) else {
            continue;
        };
        let option = match kind {
            "interest" | "interest-await" => "",
            "interest-noawait" => "/noawait",
            _ => continue,
        };
        if name.starts_with('/') {
            let file = triggers.entry("File".into()).or_default();
            file.push_str(&format!("{name} {package}{option}\n"));
        } else if !name.contains('/') && name != "File" {
            let file = triggers.entry(name.into()).or_default();
            file.push_str(&format!("{package}{option}\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_stand_where_dpkg_looks_for_them() {
        let mut triggers = BTreeMap::new();
        let text = "# a remark\ninterest-noawait ldconfig\ninterest /usr/share/x\nactivate-noawait other\n";
        add_triggers(&mut triggers, text, "libc-bin");
        add_triggers(&mut triggers, "interest-noawait /usr/share/y\n", "b:amd64");
        assert_eq!(triggers["ldconfig"], "libc-bin/noawait\n");
        assert_eq!(
            triggers["File"],
            "/usr/share/x libc-bin\n/usr/share/y b:amd64/noawait\n"
        );
        assert_eq!(triggers.len(), 2);
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        symlink("/", folder.path().join("out")).unwrap();
        let unpacker = Unpacker::new(folder.path());
        assert!(matches!(
            unpacker.make_folder("out/tmp"),
            Err(PackageFault::Malformed(_))
        ));
        assert!(unpacker.make_folder("usr/bin").unwrap());
        assert!(!unpacker.make_folder("usr/bin").unwrap());
        assert!(!unpacker.make_folder("usr").unwrap());
    }
}
