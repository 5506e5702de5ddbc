//! The .deb file: an ar archive with two tar files in it (deb(5)).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::compression::unpack;

/// What one path of a package is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink(String),
    /// A file.
    File(Body),
}

/// A file's bytes, somewhere in an unpacked tar.
#[derive(Debug, Clone)]
pub struct Body {
    whole: Arc<Vec<u8>>,
    range: Range<usize>,
    /// Files of the same number are one file under several names; zero is a file with one name.
    pub link_group: u64,
}

impl Body {
    /// A file of its own.
    pub fn new(bytes: Vec<u8>) -> Body {
        let range = 0..bytes.len();
        Body {
            whole: Arc::new(bytes),
            range,
            link_group: 0,
        }
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.whole[self.range.clone()]
    }
}

/// One path of a package or a layer.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// An unpacked package.
#[derive(Debug)]
pub struct PackageFile {
    /// The control file, without a newline at the end.
    pub control: String,
    /// The digests of its files, as the package has them.
    pub md5sums: String,
    /// Its files in the order of the archive, by path without a leading `./`.
    pub nodes: Vec<(String, Node)>,
}

impl PackageFile {
    /// Unpacks a .deb file; `number` tells it from others, in the numbers of linked files.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8], number: u64) -> Result<PackageFile, String> {
        let (mut control, mut data) = (None, None);
        for (name, member) in members(bytes)? {
            let slot = match name {
                name if name.starts_with("control.tar") => &mut control,
                name if name.starts_with("data.tar") => &mut data,
                _ => continue,
            };
            *slot = Some(unpack(name, member).map_err(|error| format!("{name}: {error}"))?);
        }
        let control = control.ok_or("it has no control.tar")?;
        let data = data.ok_or("it has no data.tar")?;
        let mut file = PackageFile {
            control: String::new(),
            md5sums: String::new(),
            nodes: Vec::new(),
        };
        for (path, node) in read_tar(control, 0)? {
            if let Content::File(body) = &node.content {
                let text = || String::from_utf8_lossy(body.bytes()).trim_end().to_string();
                match path.as_str() {
                    "control" => file.control = text(),
                    "md5sums" => file.md5sums = text(),
                    _ => {}
                }
            }
        }
        file.nodes = read_tar(data, number)?;
        Ok(file)
    }
}

/// The members of an ar archive.
fn members(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, String> {
    let mut rest = bytes.strip_prefix(b"!<arch>\n").ok_or("it is not a .deb file")?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let broken = || "its ar archive is damaged".to_string();
        let header = rest.get(..60).ok_or_else(broken)?;
        let header = std::str::from_utf8(header).map_err(|_| broken())?;
        let name = header[..16].trim_end().trim_end_matches('/');
        let size: usize = header[48..58].trim_end().parse().map_err(|_| broken())?;
        let end = 60usize.checked_add(size).ok_or_else(broken)?;
        found.push((name, rest.get(60..end).ok_or_else(broken)?));
        rest = rest.get(end + size % 2..).unwrap_or_default();
    }
    Ok(found)
}

fn read_tar(tar: Vec<u8>, number: u64) -> Result<Vec<(String, Node)>, String> {
    let whole = Arc::new(tar);
    let mut nodes: Vec<(String, Node)> = Vec::new();
    let mut by_path: HashMap<String, usize> = HashMap::new();
    let mut archive = tar::Archive::new(whole.as_slice());
    let broken = |error: std::io::Error| format!("its tar file is damaged: {error}");
    for entry in archive.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = clean(&entry.path_bytes())?;
        let link = || -> Result<String, String> {
            let target = entry.link_name_bytes().ok_or("a link has no target")?;
            String::from_utf8(target.into_owned()).map_err(|_| "a link's target is not UTF-8".to_string())
        };
        let kind = entry.header().entry_type();
        let content = if kind.is_dir() {
            Content::Directory
        } else if kind.is_symlink() {
            Content::Symlink(link()?)
        } else if kind.is_hard_link() {
            let target = clean(link()?.as_bytes())?;
            let index = *by_path.get(&target).ok_or("a hard link leads to nothing")?;
            let group = (number << 32) + index as u64 + 1;
            match &mut nodes[index].1.content {
                Content::File(body) => {
                    if body.link_group == 0 {
                        body.link_group = group;
                    }
                    Content::File(body.clone())
                }
                _ => return Err("a hard link leads to what is no file".into()),
            }
        } else if kind.is_file() {
            let start = usize::try_from(entry.raw_file_position()).map_err(|_| "it is too large")?;
            let end = usize::try_from(entry.size())
                .ok()
                .and_then(|size| start.checked_add(size));
            let range = start..end.filter(|end| *end <= whole.len()).ok_or("a file is cut off")?;
            Content::File(Body {
                whole: Arc::clone(&whole),
                range,
                link_group: 0,
            })
        } else {
            return Err(format!("`{path}` is neither file nor folder nor link"));
        };
        let header = entry.header();
        let id = |value: std::io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let node = Node {
            content,
            mode: header.mode().map_err(broken)? & 0o7777,
            uid: id(header.uid()),
            gid: id(header.gid()),
        };
        if !path.is_empty() {
            by_path.insert(path.clone(), nodes.len());
            nodes.push((path, node));
        }
    }
    Ok(nodes)
}

/// A path without `./` before and `/` behind; an error when it leads out.
fn clean(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a path is not UTF-8")?;
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(format!("the path `{text}` leads out of it"));
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deb(data: &[u8]) -> Vec<u8> {
        let mut control = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(11);
        header.set_mode(0o644);
        header.set_cksum();
        control
            .append_data(&mut header, "./control", &b"Package: a\n"[..])
            .unwrap();
        let mut out = b"!<arch>\n".to_vec();
        for (name, member) in [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar", control.into_inner().unwrap()),
            ("data.tar", data.to_vec()),
        ] {
            out.extend_from_slice(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    100644,
                    member.len()
                )
                .as_bytes(),
            );
            out.extend_from_slice(&member);
            if member.len() % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    fn entry(builder: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o4755);
        if !link.is_empty() {
            header.set_link_name_literal(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }

    #[test]
    fn files_links_and_hard_links() {
        use tar::EntryType;
        let mut data = tar::Builder::new(Vec::new());
        entry(&mut data, "./", EntryType::Directory, "", b"");
        entry(&mut data, "./usr/", EntryType::Directory, "", b"");
        entry(&mut data, "./usr/a", EntryType::Regular, "", b"text");
        entry(&mut data, "./usr/b", EntryType::Link, "./usr/a", b"");
        entry(&mut data, "./usr/c", EntryType::Symlink, "a", b"");
        let file = PackageFile::parse(&deb(&data.into_inner().unwrap()), 7).unwrap();
        assert_eq!(file.control, "Package: a");
        let paths: Vec<_> = file.nodes.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["usr", "usr/a", "usr/b", "usr/c"]);
        let body = |at: usize| match &file.nodes[at].1.content {
            Content::File(body) => body.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(body(1).bytes(), b"text");
        assert_eq!(body(2).bytes(), b"text");
        assert_eq!(
            (body(1).link_group, body(2).link_group),
            (body(1).link_group, body(1).link_group)
        );
        assert_ne!(body(1).link_group, 0);
        assert_eq!(file.nodes[1].1.mode, 0o4755);
    }

    #[test]
    fn hostile_packages_are_refused() {
        use tar::EntryType;
        let mut data = tar::Builder::new(Vec::new());
        entry(&mut data, "./../x", EntryType::Regular, "", b"");
        assert!(
            PackageFile::parse(&deb(&data.into_inner().unwrap()), 1)
                .unwrap_err()
                .contains("leads out")
        );
        let mut data = tar::Builder::new(Vec::new());
        entry(&mut data, "./dev", EntryType::Char, "", b"");
        assert!(PackageFile::parse(&deb(&data.into_inner().unwrap()), 1).is_err());
        assert!(PackageFile::parse(b"!<arch>\nshort", 1).is_err());
        assert!(PackageFile::parse(b"", 1).is_err());
        assert!(PackageFile::parse(b"!<arch>\n", 1).is_err());
    }
}
