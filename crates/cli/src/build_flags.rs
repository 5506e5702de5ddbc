//! What the words of a build's flags mean.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use coil_build::Output;
use coil_oci::Reference;

use crate::report::Failure;
use crate::settings::Settings;

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Under its names, in the store.
    Store,
    /// As an image.
    Image(Output),
    /// Its files, in a folder.
    Folder(PathBuf),
    /// Its files, as a tar; on standard output where there is no path.
    Tar(Option<PathBuf>),
    /// Nowhere: what was built stays in the cache.
    Cache,
}

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where.
    pub place: Place,
    /// Whether times of files later than SOURCE_DATE_EPOCH become that.
    pub rewrites_times: bool,
    /// More names.
    pub names: Vec<String>,
    /// Annotations of the manifest.
    pub annotations: Vec<(String, String)>,
}

/// Reads a name of an image.
///
/// # Errors
/// With Docker's words.
pub fn name(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text).map_err(|_| {
        Failure::new(format!("invalid tag \"{text}\": invalid reference format"))
            .help("a name is [REGISTRY/]NAME[:TAG], in small letters")
            .code(125)
    })
}

/// Reads a `--secret`: its id and its bytes.
///
/// # Errors
/// When it can't be had.
pub fn secret(text: &str, settings: &Settings) -> Result<(String, Vec<u8>), Failure> {
    let bad = |why: &str| {
        Failure::new(format!("invalid secret `{text}`: {why}"))
            .help("give --secret id=NAME,src=FILE or --secret id=NAME,env=VARIABLE")
            .code(125)
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value.to_owned()),
            _ => return Err(bad(&format!("unexpected `{field}`"))),
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| bad("it has no id"))?;
    let environment = settings.environment();
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = file.take().or_else(|| Some(id.clone()));
    }
    if file.is_none() && variable.is_none() && kind.is_none() {
        match environment.text(&id) {
            Some(_) => variable = Some(id.clone()),
            None => file = Some(id.clone()),
        }
    }
    let bytes = match (variable, file) {
        (Some(variable), _) => environment
            .text(&variable)
            .ok_or_else(|| bad(&format!("the variable {variable} is not set")))?
            .into_bytes(),
        (None, file) => {
            let file = file.unwrap_or_else(|| id.clone());
            let meta = fs::metadata(&file).map_err(|error| bad(&format!("{file}: {error}")))?;
            if meta.len() > 500 * 1024 {
                return Err(bad(&format!("{file} is larger than 500 KB")));
            }
            fs::read(&file).map_err(|error| bad(&format!("{file}: {error}")))?
        }
    };
    Ok((id, bytes))
}

/// Reads an `--add-host`.
///
/// # Errors
/// When it is none.
pub fn host(text: &str) -> Result<(String, IpAddr), Failure> {
    let bad = || {
        Failure::new(format!("bad format for add-host: \"{text}\""))
            .help("give --add-host NAME:ADDRESS")
            .code(125)
    };
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(bad)?;
    let address = match address {
        // Steps share the host's network.
        "host-gateway" => IpAddr::from([127, 0, 0, 1]),
        address => address.trim_matches(['[', ']']).parse().map_err(|_| bad())?,
    };
    Ok((name.to_owned(), address))
}

/// Reads a `--shm-size`.
///
/// # Errors
/// When it is no size.
pub fn size(text: &str) -> Result<u64, Failure> {
    coil_engine::quantity::bytes(text).ok_or_else(|| {
        Failure::new(format!("invalid size: '{text}'"))
            .help("give bytes, or 128m, 1g")
            .code(125)
    })
}

/// Reads a `--ulimit`: Docker's name, the soft limit and the hard one.
///
/// # Errors
/// When it is none.
pub fn limit(text: &str) -> Result<(String, u64, u64), Failure> {
    let bad = || {
        Failure::new(format!("invalid ulimit argument: {text}"))
            .help("give --ulimit nofile=1024:2048")
            .code(125)
    };
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| bad()),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(values)?, number(values)?),
    };
    Ok((name.to_owned(), soft, hard))
}

/// Reads an `--output`.
///
/// # Errors
/// When it is none, or asks for what can't be done.
pub fn destination(text: &str) -> Result<Destination, Failure> {
    let help = "give type=image, or type=docker, oci, tar or local with dest=PATH";
    let bad = |why: &str| {
        Failure::new(format!("invalid output `{text}`: {why}"))
            .help(help)
            .code(125)
    };
    let mut destination = Destination {
        place: Place::Store,
        rewrites_times: false,
        names: Vec::new(),
        annotations: Vec::new(),
    };
    if !text.contains('=') {
        destination.place = match text {
            "" => return Err(bad("it is empty")),
            "-" => Place::Tar(None),
            folder => Place::Folder(folder.into()),
        };
        return Ok(destination);
    }
    let (mut kind, mut dest, mut tar) = (None, None, None);
    for field in text.split(',') {
        let Some((key, value)) = field.split_once('=') else {
            return Err(bad(&format!("`{field}` has no value")));
        };
        let flag = || match value {
            "true" | "1" | "" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad(&format!("`{key}` is true or false"))),
        };
        match key {
            "type" => kind = Some(value),
            "dest" => dest = Some(value),
            "tar" => tar = Some(flag()?),
            "name" => destination.names.push(value.to_owned()),
            "rewrite-timestamp" => destination.rewrites_times = flag()?,
            // Images have these forms alone.
            "oci-mediatypes" | "store" | "unpack" if flag()? => {}
            "push" | "push-by-digest" | "dangling-name-prefix" | "oci-artifact" if value == "false" => {}
            "push" | "push-by-digest" => return Err(no_push(text)),
            "compression" if value == "uncompressed" => {}
            _ => match key.strip_prefix("annotation.") {
                Some(name) => destination.annotations.push((name.to_owned(), value.to_owned())),
                None => return Err(bad(&format!("`{field}` cannot be honoured"))),
            },
        }
    }
    let need = || {
        dest.filter(|dest| !dest.is_empty())
            .map(PathBuf::from)
            .ok_or_else(|| bad("it needs dest=PATH"))
    };
    let file = || match need()? {
        path if path.as_os_str() == "-" => Err(bad("an image is written to a file: give dest=FILE")),
        path => Ok(path),
    };
    destination.place = match kind {
        Some("image") => Place::Store,
        Some("registry") => return Err(no_push(text)),
        Some("cacheonly") => Place::Cache,
        Some("docker") if dest.is_none() => Place::Store,
        Some("docker") if tar == Some(false) => Place::Image(Output::Oci(need()?)),
        Some("docker") => Place::Image(Output::DockerArchive(file()?)),
        Some("oci") if tar == Some(false) => Place::Image(Output::Oci(need()?)),
        Some("oci") => Place::Image(Output::OciArchive(file()?)),
        Some("local") => Place::Folder(need()?),
        Some("tar") => match dest {
            None | Some("-") => Place::Tar(None),
            Some(path) => Place::Tar(Some(path.into())),
        },
        Some(other) => return Err(bad(&format!("the type {other} is unknown"))),
        None => return Err(bad("it has no type")),
    };
    Ok(destination)
}

/// What is told where an image should go to a registry.
pub fn no_push(what: &str) -> Failure {
    Failure::new(format!(
        "`{what}` cannot be honoured: coil sends no images to registries yet"
    ))
    .help(
        "write it out with -o type=oci,dest=FILE, and send that: skopeo copy oci-archive:FILE docker://NAME",
    )
    .code(125)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_docker_reads_them() {
        let place = |text: &str| destination(text).unwrap().place;
        assert_eq!(place("out"), Place::Folder("out".into()));
        assert_eq!(place("-"), Place::Tar(None));
        assert_eq!(place("type=tar,dest=-"), Place::Tar(None));
        assert_eq!(place("type=docker"), Place::Store);
        assert_eq!(place("type=image,name=a,push=false"), Place::Store);
        assert_eq!(
            place("type=oci,dest=x"),
            Place::Image(Output::OciArchive("x".into()))
        );
        assert_eq!(
            place("type=oci,dest=x,tar=false"),
            Place::Image(Output::Oci("x".into()))
        );
        for wrong in [
            "type=oci",
            "type=local",
            "type=registry",
            "type=image,push=true",
            "type=image,compression=estargz",
            "type=none",
            "dest=x",
            "",
        ] {
            assert!(destination(wrong).is_err(), "{wrong}");
        }
        let all = destination("type=oci,dest=x,rewrite-timestamp=true,annotation.a=b").unwrap();
        assert!(all.rewrites_times);
        assert_eq!(all.annotations, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn sizes_limits_and_hosts() {
        assert_eq!(size("128m").unwrap(), 128 << 20);
        assert!(size("x").is_err() && limit("nofile").is_err() && host("a").is_err());
        assert_eq!(limit("nofile=1:2").unwrap(), ("nofile".into(), 1, 2));
        assert_eq!(host("a:[::1]").unwrap().1.to_string(), "::1");
    }
}
