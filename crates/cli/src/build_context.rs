//! Where a build's files come from: a folder, a tar, standard input, an address, a git repository; and its Dockerfile and
//! ignore file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use coil_build::dockerfile::{
    Git, GitError, GitSource, Material, check_ignore_patterns, git_is_missing, ignore_patterns, is_git,
};
use coil_fetch::{Download, Fetcher, Progress, redact_url};
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
    /// What it is, where it was fetched.
    pub source: Option<Material>,
    /// A folder that was made for it and goes with it.
    _unpacked: Option<Unpacked>,
}

/// A folder that goes with its build.
pub struct Unpacked {
    store: Store,
    folder: PathBuf,
    source: Option<Material>,
}

/// What contexts are fetched with.
pub struct Sources<'a> {
    /// Where they are kept while they are used.
    pub store: &'a Store,
    /// The way to the network.
    pub fetcher: &'a Fetcher,
    /// Who is told of downloads.
    pub progress: &'a dyn Progress,
    /// Git, where it is installed.
    pub git: Option<Git>,
    /// Whether `.git` stays in contexts.
    pub keeps_git: bool,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = self.store.remove_folder(&self.folder);
    }
}

/// Most bytes of a Dockerfile.
const LARGEST: u64 = 16 << 20;

/// Most bytes of a line of an ignore file.
const LONGEST_LINE: usize = 65_535;

/// Finds the context and reads its Dockerfile.
///
/// # Errors
/// When there is none, or a link leads out of it.
pub fn find(sources: &Sources<'_>, place: &str, file: Option<&str>) -> Result<Context, Failure> {
    let store = sources.store;
    let file = file.filter(|file| !file.is_empty());
    if place == "-" && file == Some("-") {
        return Err(Failure::new(
            "invalid argument: can't use stdin for both build context and dockerfile",
        ));
    }
    let input = match place {
        "-" => Some(from_input(store)?),
        place => sources.remote(place)?,
    };
    let (folder, unpacked) = match input {
        Some(Input::Text(text)) => {
            return Ok(Context {
                folder: None,
                text,
                name: "Dockerfile".into(),
                ignored: (Vec::new(), ".dockerignore".into()),
                source: None,
                _unpacked: None,
            });
        }
        Some(Input::Files(folder, unpacked)) => (folder, Some(unpacked)),
        None => (PathBuf::from(place), None),
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
    // Of what comes from elsewhere nothing is left out, as BuildKit has it.
    let ignored = match unpacked {
        Some(_) => (Vec::new(), ".dockerignore".into()),
        None => ignore_file(&folder, path.as_deref())?,
    };
    Ok(Context {
        name: match (&path, file) {
            (_, Some("-")) => "Dockerfile".into(),
            (_, Some(file)) => file.to_owned(),
            _ => "Dockerfile".into(),
        },
        folder: Some(folder),
        text,
        ignored,
        source: unpacked.as_ref().and_then(|unpacked| unpacked.source.clone()),
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
        None => usual_file(folder),
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
    // What is no UTF-8 is no fault in a comment or a label.
    Ok((Some(path), String::from_utf8_lossy(&bytes).into_owned()))
}

/// `Dockerfile`, or `dockerfile` where only that is there.
fn usual_file(folder: &Path) -> PathBuf {
    let (usual, small) = (folder.join("Dockerfile"), folder.join("dockerfile"));
    match usual.symlink_metadata().is_err() && small.symlink_metadata().is_ok() {
        true => small,
        false => usual,
    }
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
            let mut bytes = Vec::new();
            file.take(LARGEST).read_to_end(&mut bytes).map(|_| bytes)
        }) {
            Ok(bytes) => return Ok((read_ignore_file(&bytes, &name)?, name)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
                ) => {}
            Err(error) => return Err(Failure::new(format!("{name} cannot be read: {error}"))),
        }
    }
    Ok((Vec::new(), ".dockerignore".into()))
}

/// The patterns of an ignore file; one that can't be read fails a build that asks none as well.
fn read_ignore_file(bytes: &[u8], name: &str) -> Result<Vec<String>, Failure> {
    let failed = |text: String| Failure::new(format!("failed parsing {name}: {text}"));
    if let Some(at) = bytes
        .split(|byte| *byte == b'\n')
        .position(|line| line.len() > LONGEST_LINE)
    {
        return Err(failed(format!("token too long (line {})", at + 1)));
    }
    if bytes.contains(&0) {
        return Err(failed("it holds a NUL".into()).help(format!("save {name} as text")));
    }
    let patterns = ignore_patterns(&String::from_utf8_lossy(bytes));
    check_ignore_patterns(&patterns).map_err(|error| {
        failed(error.to_string())
            .help("patterns have *, ?, [a-z] and **; \\ before such a character takes it as it is")
    })?;
    Ok(patterns)
}

/// What is not a folder of the user's.
enum Input {
    Text(String),
    /// The folder that is meant, in one that goes with the build.
    Files(PathBuf, Unpacked),
}

/// A repository of a hosting service by its short name.
fn whole_address(place: &str) -> String {
    match place.starts_with("github.com/") {
        true => format!("https://{place}"),
        false => place.to_owned(),
    }
}

impl Sources<'_> {
    /// Fetches what is elsewhere; none for a path of this machine.
    fn remote(&self, place: &str) -> Result<Option<Input>, Failure> {
        let address = whole_address(place);
        if is_git(&address) || place.starts_with("github.com/") {
            return self.repository(&address).map(Some);
        }
        if place.starts_with("http://") || place.starts_with("https://") {
            return self.address(place).map(Some);
        }
        if let Some((scheme, _)) = place.split_once("://") {
            return Err(Failure::new(format!(
                "the context {place} cannot be fetched: {scheme}:// is unknown"
            ))
            .help("give a folder, a tar, -, an address of a tar or Dockerfile, or a git repository"));
        }
        Ok(None)
    }

    /// A context of its own name: a folder, an image, an address or a repository.
    ///
    /// # Errors
    /// When it can't be had.
    pub fn named(&self, place: &str) -> Result<(PathBuf, Option<Unpacked>), Failure> {
        match self.remote(place)? {
            Some(Input::Files(folder, unpacked)) => Ok((folder, Some(unpacked))),
            Some(Input::Text(_)) => Err(Failure::new(format!(
                "the context {place} is neither a tar nor a repository"
            ))
            .help("ADD gets a single file from an address")),
            None => Ok((PathBuf::from(place), None)),
        }
    }

    fn repository(&self, address: &str) -> Result<Input, Failure> {
        let told = |error: GitError| Failure::new(&error).maybe_help(error.help);
        let mut source = GitSource::parse(address).map_err(told)?;
        source.keeps_git = source.keeps_git.or(Some(self.keeps_git));
        let git = self
            .git
            .as_ref()
            .ok_or_else(|| told(git_is_missing(&source.url)))?;
        let folder = self
            .store
            .temp_path()
            .map_err(|error| Failure::new(format!("a temporary folder cannot be made: {error}")))?;
        let mut unpacked = Unpacked {
            store: self.store.clone(),
            folder,
            source: None,
        };
        self.progress
            .note(&format!("fetching {}", redact_url(&source.url)));
        let (commit, root) = git.checkout(&source, &unpacked.folder).map_err(told)?;
        unpacked.source = Some(Material::commit(
            &source.url,
            source.reference.as_deref(),
            &commit,
        ));
        Ok(Input::Files(root, unpacked))
    }

    fn address(&self, url: &str) -> Result<Input, Failure> {
        let failed = |error: io::Error| Failure::new(format!("{} cannot be read: {error}", redact_url(url)));
        let place = self.store.temp_path().map_err(failed)?;
        let request = Download {
            url: url.to_owned(),
            dest: place.clone(),
            id: redact_url(url),
            size: None,
            sha256: None,
        };
        let downloaded = self
            .fetcher
            .download(&request, self.progress)
            .map_err(|error| Failure::of(&error).help(error.help()))?;
        let mut read = tar_or_text(self.store, &place, &redact_url(url));
        let _ = fs::remove_file(&place);
        if let Ok(Input::Files(_, unpacked)) = &mut read {
            unpacked.source = Some(Material::download(url, &downloaded.sha256));
        }
        read
    }
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
        .and_then(|()| tar_or_text(store, &place, "standard input"));
    let _ = fs::remove_file(&place);
    read
}

fn tar_or_text(store: &Store, file: &Path, name: &str) -> Result<Input, Failure> {
    let failed = |error: io::Error| Failure::new(format!("{name} cannot be read: {error}"));
    match archive_stream(file).map_err(failed)? {
        Some(_) => {
            let unpacked = unpack_file(store, file)?;
            Ok(Input::Files(unpacked.folder.clone(), unpacked))
        }
        None => fs::read_to_string(file).map(Input::Text).map_err(|_| {
            Failure::new(format!("{name} is neither a Dockerfile nor a tar"))
                .help("a context is a tar, plain or compressed with gzip, xz, zstd or bzip2")
        }),
    }
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
        source: None,
    };
    unpack_archive(&mut stream, &unpacked.folder, Ownership::Unpacker)
        .map_err(|error| Failure::new(format!("the context cannot be unpacked: {error}")))?;
    Ok(unpacked)
}
