//! `--cache-from` and `--cache-to` of builds: folders and images are coil's, of services it is told what becomes of them.
//!
//! A cache only makes a build faster. So one that can't be read is told, and the build goes on, as BuildKit does; and so it is
//! with GitHub's, which a workflow names for every build. What should be written to a registry or a bucket is refused: the user
//! counts on finding it there.

use std::path::PathBuf;

use crate::report::Failure;

/// Where steps may be found besides the store's own cache.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CacheSources {
    /// Folders that another build wrote.
    pub folders: Vec<PathBuf>,
    /// Images that hold their own.
    pub images: Vec<String>,
    /// What the user is told.
    pub notes: Vec<String>,
}

/// Where a build's steps are kept for others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CacheTargets {
    /// Folders.
    pub folders: Vec<PathBuf>,
    /// Whether the image holds it.
    pub inline: bool,
    /// What the user is told.
    pub notes: Vec<String>,
}

/// The words of one flag.
struct Entry<'a> {
    flag: &'static str,
    text: &'a str,
    kind: &'a str,
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Entry<'a> {
    fn read(flag: &'static str, text: &'a str) -> Result<Entry<'a>, Failure> {
        let mut entry = Entry {
            flag,
            text,
            kind: "",
            fields: Vec::new(),
        };
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", kind)) => entry.kind = kind,
                Some(pair) => entry.fields.push(pair),
                None => return Err(entry.refused(&format!("`{field}` has no value"))),
            }
        }
        match entry.kind {
            "" => Err(entry.refused("it has no type")),
            _ => Ok(entry),
        }
    }

    fn refused(&self, why: &str) -> Failure {
        let key = if self.flag == "--cache-to" { "dest" } else { "src" };
        Failure::new(format!("{} {} cannot be honoured: {why}", self.flag, self.text))
            .help(format!(
                "give {} type=local,{key}=FOLDER; what is built here is found again without it",
                self.flag
            ))
            .code(125)
    }

    /// Of these fields alone; the values of the first that is given.
    fn only(&self, known: &[&str]) -> Result<(), Failure> {
        match self.fields.iter().find(|(name, _)| !known.contains(name)) {
            Some((name, value)) => Err(self.refused(&format!("`{name}={value}` is unknown"))),
            None => Ok(()),
        }
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value).filter(|value| !value.is_empty())
    }

    fn is_forgiving(&self) -> bool {
        matches!(self.value("ignore-error"), Some("true" | "1"))
    }
}

/// What a cache of a service is called.
fn service(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "gha" => "GitHub's cache",
        "s3" => "S3",
        "azblob" => "Azure's blobs",
        "registry" => "a registry",
        _ => return None,
    })
}

/// Reads all `--cache-from`.
///
/// # Errors
/// What is no cache at all.
pub fn sources(texts: &[String]) -> Result<CacheSources, Failure> {
    let mut all = CacheSources::default();
    for text in texts {
        // Names of images alone, as the classic builder had them.
        if !text.contains('=') {
            all.images
                .extend(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned));
            continue;
        }
        let entry = Entry::read("--cache-from", text)?;
        match entry.kind {
            "local" => {
                entry.only(&["src", "tag", "digest"])?;
                let folder = entry.value("src").ok_or_else(|| entry.refused("it needs src=FOLDER"))?;
                all.folders.push(folder.into());
            }
            "registry" => {
                let image = entry.value("ref").ok_or_else(|| entry.refused("it needs ref=IMAGE"))?;
                all.images.push(image.to_owned());
            }
            kind => match service(kind) {
                Some(service) => all.notes.push(format!(
                    "no cache is read from {service}: coil reads caches from folders (type=local,src=FOLDER) and from images that hold one"
                )),
                None => return Err(entry.refused(&format!("caches of the type {kind} are not read"))),
            },
        }
    }
    Ok(all)
}

/// Reads all `--cache-to`.
///
/// # Errors
/// What can't be written, where the user counts on it.
pub fn targets(texts: &[String]) -> Result<CacheTargets, Failure> {
    let mut all = CacheTargets::default();
    for text in texts {
        if !text.contains('=') {
            let entry = Entry {
                flag: "--cache-to",
                text,
                kind: "registry",
                fields: Vec::new(),
            };
            return Err(entry.refused("coil writes to no registry yet"));
        }
        let entry = Entry::read("--cache-to", text)?;
        match entry.kind {
            "local" => {
                entry.only(&["dest", "mode", "reset", "ignore-error", "oci-mediatypes", "image-manifest"])?;
                if !matches!(entry.value("mode"), None | Some("min" | "max")) {
                    return Err(entry.refused("its mode is min or max; coil keeps all in both"));
                }
                let folder = entry.value("dest").ok_or_else(|| entry.refused("it needs dest=FOLDER"))?;
                all.folders.push(folder.into());
            }
            "inline" => {
                entry.only(&["mode", "ignore-error"])?;
                all.inline = true;
            }
            kind => match service(kind) {
                Some(service) if kind == "gha" || entry.is_forgiving() => all.notes.push(format!(
                    "no cache is written to {service}: write it to a folder that your jobs keep, with --cache-to type=local,dest=FOLDER"
                )),
                Some(service) => {
                    return Err(entry.refused(&format!("coil writes no caches to {service} yet")));
                }
                None => return Err(entry.refused(&format!("caches of the type {kind} are not written"))),
            },
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn caches_are_folders_and_images() {
        let to = targets(&texts(&[
            "type=local,dest=x,mode=max",
            "type=inline",
            "type=gha,mode=max",
        ]))
        .unwrap();
        assert_eq!(
            (to.folders, to.inline, to.notes.len()),
            (vec!["x".into()], true, 1)
        );
        let from = sources(&texts(&[
            "type=local,src=x",
            "user/app:cache,user/app",
            "type=registry,ref=a/b",
            "type=gha,scope=main",
            "type=s3,region=eu,bucket=b",
        ]))
        .unwrap();
        assert_eq!(from.folders, [PathBuf::from("x")]);
        assert_eq!(from.images, ["user/app:cache", "user/app", "a/b"]);
        assert_eq!(from.notes.len(), 2);
        assert!(
            targets(&texts(&["type=registry,ref=a,ignore-error=true"]))
                .unwrap()
                .folders
                .is_empty()
        );
        for wrong in [
            "type=local",
            "user/app:cache",
            "type=registry,ref=a/b",
            "type=s3,bucket=b",
            "type=local,dest=x,compression=zstd",
            "type=local,dest=x,mode=all",
            "type=other",
            "dest=x",
        ] {
            assert!(targets(&texts(&[wrong])).is_err(), "{wrong}");
        }
        assert!(sources(&texts(&["type=other,src=x"])).is_err());
    }
}
