//! The .deb file: an ar archive with two tar files in it (deb(5)).

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::compression::unpack;
use crate::spill::Spill;

/// How much of a file is in memory at once.
const PIECE: usize = 1 << 17;
/// More than any list of a package's digests has; beyond it the rest is left out.
const LONGEST_TEXT: u64 = 64 << 20;

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

/// A file's bytes, wherever they are.
#[derive(Debug, Clone)]
pub struct Body {
    place: BodyPlace,
    size: u64,
    /// Files of the same number are one file under several names; zero is a file with one name.
    pub link_group: u64,
}

#[derive(Debug, Clone)]
enum BodyPlace {
    Memory(Arc<Vec<u8>>),
    Disk(Arc<Spill>, u64),
}

impl Body {
    /// A file of its own, in memory.
    pub fn new(bytes: Vec<u8>) -> Body {
        Body {
            size: bytes.len() as u64,
            place: BodyPlace::Memory(Arc::new(bytes)),
            link_group: 0,
        }
    }

    /// Puts what a stream gives on disk; it must give `size` bytes.
    fn spilled(spill: &Arc<Spill>, size: u64, source: &mut dyn Read) -> Result<Body, PackageFault> {
        let start = spill.reserve(size);
        let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut done = 0;
        while done < size {
            let piece = usize::try_from(size - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            match source.read(&mut buffer[..piece]) {
                Ok(0) => return Err("a file is cut off".into()),
                Ok(read) => {
                    let written = spill.write(start + done, &buffer[..read]);
                    written.map_err(PackageFault::Disk)?;
                    done += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(&error)),
            }
        }
        Ok(Body {
            place: BodyPlace::Disk(Arc::clone(spill), start),
            size,
            link_group: 0,
        })
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The content.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        self.copy(&mut |piece| bytes.write_all(piece))?;
        Ok(bytes)
    }

    /// A part of the content; fewer bytes where it ends before.
    ///
    /// # Errors
    /// What the disk gives.
    pub fn part(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        match &self.place {
            BodyPlace::Memory(bytes) => {
                let start = bytes.len().min(usize::try_from(offset).unwrap_or(usize::MAX));
                Ok(bytes[start..bytes.len().min(start + length)].to_vec())
            }
            BodyPlace::Disk(spill, start) => {
                let mut buffer = vec![0; length];
                spill.read(start + offset, &mut buffer)?;
                Ok(buffer)
            }
        }
    }

    /// Gives the content away piece by piece.
    ///
    /// # Errors
    /// What the disk gives, and what `sink` does.
    pub fn copy(&self, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let (spill, start) = match &self.place {
            BodyPlace::Memory(bytes) => return sink(bytes),
            BodyPlace::Disk(spill, start) => (spill, *start),
        };
        let mut buffer = vec![0; PIECE.min(usize::try_from(self.size).unwrap_or(PIECE))];
        let mut done = 0;
        while done < self.size {
            let piece = usize::try_from(self.size - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            spill.read(start + done, &mut buffer[..piece])?;
            sink(&buffer[..piece])?;
            done += piece as u64;
        }
        Ok(())
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

/// Why a package could not be unpacked.
#[derive(Debug)]
pub enum PackageFault {
    /// What is wrong with it, in words.
    Malformed(String),
    /// Its files could not be put on disk.
    Disk(io::Error),
}

impl From<&str> for PackageFault {
    fn from(reason: &str) -> PackageFault {
        PackageFault::Malformed(reason.to_string())
    }
}

impl From<String> for PackageFault {
    fn from(reason: String) -> PackageFault {
        PackageFault::Malformed(reason)
    }
}

fn damaged(error: &io::Error) -> PackageFault {
    PackageFault::Malformed(format!("its tar file is damaged: {error}"))
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
    /// Unpacks a .deb file, its files' contents into `spill`; `number` tells it from others, in the numbers of linked files.
    ///
    /// # Errors
    /// What is wrong with it, and what the disk gives.
    pub fn parse(mut deb: impl Read, number: u64, spill: &Arc<Spill>) -> Result<PackageFile, PackageFault> {
        let mut magic = [0; 8];
        if deb.read_exact(&mut magic).is_err() || magic != *b"!<arch>\n" {
            return Err("it is not a .deb file".into());
        }
        let (mut control, mut data) = (None, None);
        while let Some((name, size)) = next_member(&mut deb)? {
            let mut member = (&mut deb).take(size);
            if name.starts_with("control.tar") {
                control = Some(read_member(&name, &mut member, &mut control_texts)?);
            } else if name.starts_with("data.tar") {
                let mut read = |tar: &mut dyn Read| {
                    read_tar(tar, number, &mut |_, size, file| Body::spilled(spill, size, file))
                };
                data = Some(read_member(&name, &mut member, &mut read)?);
            }
            // The rest of it, and the byte that makes its length even.
            let broken = |_| PackageFault::from("its ar archive is damaged");
            io::copy(&mut member, &mut io::sink()).map_err(broken)?;
            if member.limit() > 0 {
                return Err("its ar archive is damaged".into());
            }
            io::copy(&mut (&mut deb).take(size % 2), &mut io::sink()).map_err(broken)?;
        }
        let (control, md5sums) = control.ok_or("it has no control.tar")?;
        let nodes = data.ok_or("it has no data.tar")?;
        Ok(PackageFile {
            control,
            md5sums,
            nodes,
        })
    }
}

/// The name and the size of the next member of an ar archive; `None` at its end.
pub fn next_member(archive: &mut impl Read) -> Result<Option<(String, u64)>, PackageFault> {
    let broken = || PackageFault::from("its ar archive is damaged");
    let mut header = Vec::with_capacity(60);
    archive.take(60).read_to_end(&mut header).map_err(|_| broken())?;
    if header.is_empty() {
        return Ok(None);
    }
    let header = std::str::from_utf8(&header).map_err(|_| broken())?;
    let name = header.get(..16).ok_or_else(broken)?;
    let size = header.get(48..58).filter(|_| header.len() == 60);
    let size = size.and_then(|size| size.trim_end().parse().ok());
    let name = name.trim_end().trim_end_matches('/').to_string();
    Ok(Some((name, size.ok_or_else(broken)?)))
}

/// Unpacks a member and reads it to its very end, where its checksum is.
pub fn read_member<T>(
    name: &str,
    member: &mut dyn Read,
    read: &mut dyn FnMut(&mut dyn Read) -> Result<T, PackageFault>,
) -> Result<T, PackageFault> {
    let failed = |error: io::Error| PackageFault::Malformed(format!("{name}: {error}"));
    let mut tar = unpack(name, member).map_err(failed)?;
    let found = read(&mut tar)?;
    io::copy(&mut tar, &mut io::sink()).map_err(failed)?;
    Ok(found)
}

/// The control file and the digests of a package's files.
fn control_texts(tar: &mut dyn Read) -> Result<(String, String), PackageFault> {
    let (mut control, mut md5sums) = (String::new(), String::new());
    read_tar(tar, 0, &mut |path, _, file| {
        let slot = match path {
            "control" => &mut control,
            "md5sums" => &mut md5sums,
            _ => return Ok(Body::new(Vec::new())),
        };
        let mut bytes = Vec::new();
        let read = file.take(LONGEST_TEXT).read_to_end(&mut bytes);
        read.map_err(|error| damaged(&error))?;
        *slot = String::from_utf8_lossy(&bytes).trim_end().to_string();
        Ok(Body::new(Vec::new()))
    })?;
    Ok((control, md5sums))
}

/// Takes a file's path, its size, and its content.
type Keep<'a> = &'a mut dyn FnMut(&str, u64, &mut dyn Read) -> Result<Body, PackageFault>;

fn read_tar(tar: &mut dyn Read, number: u64, keep: Keep<'_>) -> Result<Vec<(String, Node)>, PackageFault> {
    let mut nodes: Vec<(String, Node)> = Vec::new();
    let mut by_path: HashMap<String, usize> = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    let broken = |error: io::Error| damaged(&error);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = clean(&entry.path_bytes())?;
        let link = || -> Result<String, PackageFault> {
            let target = entry.link_name_bytes().ok_or("a link has no target")?;
            String::from_utf8(target.into_owned()).map_err(|_| "a link's target is not UTF-8".into())
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
            let size = entry.size();
            Content::File(keep(&path, size, &mut entry)?)
        } else {
            return Err(format!("`{path}` is neither file nor folder nor link").into());
        };
        let header = entry.header();
        let id = |value: io::Result<u64>| value.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
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
pub fn clean(bytes: &[u8]) -> Result<String, String> {
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

    fn parse(bytes: &[u8], number: u64) -> Result<PackageFile, String> {
        let folder = tempfile::tempdir().unwrap();
        let spill = Arc::new(Spill::create(&folder.path().join("spill")).unwrap());
        PackageFile::parse(bytes, number, &spill).map_err(|fault| match fault {
            PackageFault::Malformed(reason) => reason,
            PackageFault::Disk(error) => panic!("{error}"),
        })
    }

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
        let file = parse(&deb(&data.into_inner().unwrap()), 7).unwrap();
        assert_eq!(file.control, "Package: a");
        let paths: Vec<_> = file.nodes.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["usr", "usr/a", "usr/b", "usr/c"]);
        let body = |at: usize| match &file.nodes[at].1.content {
            Content::File(body) => body.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(body(1).bytes().unwrap(), b"text");
        assert_eq!(body(2).bytes().unwrap(), b"text");
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
            parse(&deb(&data.into_inner().unwrap()), 1)
                .unwrap_err()
                .contains("leads out")
        );
        let mut data = tar::Builder::new(Vec::new());
        entry(&mut data, "./dev", EntryType::Char, "", b"");
        assert!(parse(&deb(&data.into_inner().unwrap()), 1).is_err());
        assert!(parse(b"!<arch>\nshort", 1).is_err());
        assert!(parse(b"", 1).is_err());
        assert!(parse(b"!<arch>\n", 1).is_err());
        let mut data = tar::Builder::new(Vec::new());
        entry(&mut data, "./long", EntryType::Regular, "", &[1; 4000]);
        let mut data = data.into_inner().unwrap();
        let whole = deb(&data);
        for length in (0..whole.len()).step_by(61) {
            assert!(parse(&whole[..length], 1).is_err(), "{length} bytes");
        }
        data.truncate(2000);
        assert_eq!(parse(&deb(&data), 1).unwrap_err(), "a file is cut off");
    }
}
