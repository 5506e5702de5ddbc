//! Where a build's files come from: a folder, a tar, standard input; and its Dockerfile and ignore file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coil_build::dockerfile::ignore_patterns;
use coil_store::{Ownership, Store, archive_stream, unpack_archive};

use crate::report::Failure;

/// A context that was found.
pub struct Context {
    /// Its folder.
    pub folder: Option<PathBuf>,
    /// The Dockerfile's text.
    pub text: String,
    /// The Dockerfile's name for messages.
    pub name: String,
    /// The patterns of the ignore file, and its name.
    pub ignored: (Vec<String>, String),
    /// A folder that was made for it and goes with it.
    _unpacked: Option<Unpacked>,
}

struct Unpacked {
    store: Store,
    folder: PathBuf,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = self.store.remove_folder(&self.folder);
    }
}

/// Most bytes of a Dockerfile.
const LARGEST: u64 = 16 << 20;

/// Finds the context and reads its Dockerfile.
///
/// # Errors
/// When there is none, or a link leads out of it.
pub fn find(store: &Store, place: &str, file: Option<&str>) -> Result<Context, Failure> {
    if place == "-" && file == Some("-") {
        return Err(Failure::new(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    if place.contains("://") || place.starts_with("git@") || place.starts_with("github.com/") {
        return Err(
            Failure::new(format!("the context {place} cannot be fetched by coil yet"))
                .help("clone it, and give the folder: git clone URL && coil build FOLDER"),
        );
    }
    let (folder, unpacked) = match place {
        "-" => match from_input(store)? {
            Input::Dockerfile(text) => {
                return Ok(Context {
                    folder: None,
                    text,
                    name: "Dockerfile".into(),
                    ignored: (Vec::new(), ".dockerignore".into()),
                    _unpacked: None,
                });
            }
            Input::Files(unpacked) => (unpacked.folder.clone(), Some(unpacked)),
        },
        place => (PathBuf::from(place), None),
    };
    let found = fs::metadata(&folder);
    match &found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!("path \"{place}\" not found"))
                .help("give the folder that holds the Dockerfile, often `.`"));
        }
        Err(error) => return Err(Failure::new(format!("cannot read {place}: {error}"))),
        Ok(_) => {}
    }
    let (folder, unpacked) = match found.is_ok_and(|meta| meta.is_dir()) {
        true => (folder, unpacked),
        false => {
            let unpacked = unpack_file(store, &folder)?;
            (unpacked.folder.clone(), Some(unpacked))
        }
    };
    let folder =
        fs::canonicalize(&folder).map_err(|error| Failure::new(format!("cannot read {place}: {error}")))?;
    let strict = unpacked.is_some();
    let (path, text) = dockerfile(&folder, file, strict)?;
    let ignored = ignore_file(&folder, path.as_deref())?;
    Ok(Context {
        name: match (&path, file) {
            (_, Some("-")) => "Dockerfile".into(),
            (_, Some(file)) => file.to_owned(),
            _ => "Dockerfile".into(),
        },
        folder: Some(folder),
        text,
        ignored,
        _unpacked: unpacked,
    })
}

fn dockerfile(folder: &Path, file: Option<&str>, strict: bool) -> Result<(Option<PathBuf>, String), Failure> {
    if file == Some("-") {
        let mut text = String::new();
        io::stdin()
            .take(LARGEST)
            .read_to_string(&mut text)
            .map_err(|error| Failure::new(format!("standard input cannot be read: {error}")))?;
        return Ok((None, text));
    }
    let path = match file {
        Some(file) if strict => folder.join(file.trim_start_matches('/')),
        Some(file) => PathBuf::from(file),
        None => folder.join("Dockerfile"),
    };
    let shown = file.unwrap_or("Dockerfile");
    let failed = |error: io::Error| {
        let failure = Failure::new(match error.kind() {
            io::ErrorKind::NotFound => {
                format!("failed to read dockerfile: open {shown}: no such file or directory")
            }
            _ => format!("failed to read dockerfile: {shown}: {error}"),
        });
        match error.kind() {
            io::ErrorKind::NotFound if file.is_none() => failure.help(format!(
                "name it with -f, or pack the project without one: `coil pack {}`",
                folder.display()
            )),
            _ => failure,
        }
    };
    let real = fs::canonicalize(&path).map_err(failed)?;
    if (strict || file.is_none()) && !real.starts_with(folder) {
        return Err(
            Failure::new(format!("{shown} is a link that leads out of the context"))
                .help(format!("name the file itself: -f {}", real.display())),
        );
    }
    let meta = fs::metadata(&real).map_err(failed)?;
    if !meta.is_file() {
        return Err(Failure::new(format!(
            "failed to read dockerfile: {shown} is no file"
        )));
    }
    if meta.len() > LARGEST {
        return Err(Failure::new(format!("{shown} is too large to be a Dockerfile")));
    }
    let bytes = fs::read(&real).map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::new(format!("{shown} is no UTF-8 text")).help("save it as UTF-8"))?;
    Ok((Some(path), text))
}

/// `NAME.dockerignore` beside the Dockerfile, or `.dockerignore` of the context.
fn ignore_file(folder: &Path, dockerfile: Option<&Path>) -> Result<(Vec<String>, String), Failure> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([folder.join(".dockerignore")]) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match File::open(&path).and_then(|file| {
            let mut text = String::new();
            file.take(LARGEST).read_to_string(&mut text).map(|_| text)
        }) {
            Ok(text) => return Ok((ignore_patterns(&text), name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::new(format!("{name} cannot be read: {error}"))),
        }
    }
    Ok((Vec::new(), ".dockerignore".into()))
}

enum Input {
    Dockerfile(String),
    Files(Unpacked),
}

/// Standard input: a Dockerfile, or a tar of a context.
fn from_input(store: &Store) -> Result<Input, Failure> {
    let failed = |error: io::Error| Failure::new(format!("standard input cannot be read: {error}"));
    let place = store.temp_path().map_err(failed)?;
    let copy = || -> io::Result<()> {
        let mut file = File::create(&place)?;
        io::copy(&mut io::stdin().lock(), &mut file).map(|_| ())
    };
    let read = copy()
        .map_err(failed)
        .and_then(|()| match archive_stream(&place).map_err(failed)? {
            Some(_) => unpack_file(store, &place).map(Input::Files),
            None => fs::read_to_string(&place)
                .map(Input::Dockerfile)
                .map_err(|_| Failure::new("standard input is neither a Dockerfile nor a tar")),
        });
    let _ = fs::remove_file(&place);
    read
}

fn unpack_file(store: &Store, file: &Path) -> Result<Unpacked, Failure> {
    let failed = |error: io::Error| Failure::new(format!("{} cannot be unpacked: {error}", file.display()));
    let Some(mut stream) = archive_stream(file).map_err(failed)? else {
        return Err(Failure::new(format!(
            "the context {} is neither a folder nor a tar",
            file.display()
        ))
        .help("give the folder that holds the Dockerfile, and the Dockerfile itself with -f"));
    };
    let folder = store.temp_path().map_err(failed)?;
    fs::create_dir(&folder).map_err(failed)?;
    let unpacked = Unpacked {
        store: store.clone(),
        folder,
    };
    unpack_archive(&mut stream, &unpacked.folder, Ownership::Unpacker)
        .map_err(|error| Failure::new(format!("the context cannot be unpacked: {error}")))?;
    Ok(unpacked)
}
