//! Git repositories as contexts and as what `ADD` adds, by the installed `git` (Dockerfile reference, "Adding files from a
//! Git repository").

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coil_fetch::{basic_authorization, percent_decode, redact_url};

/// What a repository is fetched with.
#[derive(Debug, Clone)]
pub struct Git {
    /// The program.
    pub program: PathBuf,
    /// A token for HTTPS, and a folder in memory that it may stand in.
    pub token: Option<(String, PathBuf)>,
}

/// A place in a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitSource {
    /// The repository's address.
    pub url: String,
    /// A branch, a tag or a commit; the repository's own choice where none is given.
    pub reference: Option<String>,
    /// The folder that is meant.
    pub folder: Option<String>,
    /// How the commit's name must begin.
    pub checksum: Option<String>,
    /// Whether `.git` stays.
    pub keeps_git: Option<bool>,
    /// Whether submodules are left out.
    pub without_submodules: bool,
}

/// Why a repository can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitError {
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for GitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for GitError {}

impl From<io::Error> for GitError {
    fn from(error: io::Error) -> GitError {
        GitError::new(format!("a git repository cannot be fetched: {error}"))
    }
}

impl GitError {
    fn new(message: impl Into<String>) -> GitError {
        GitError {
            message: message.into(),
            help: None,
        }
    }
}

/// Whether an address is a git repository's: by its scheme, or by its ending.
pub fn is_git(text: &str) -> bool {
    let bare = text.split(['#', '?']).next().unwrap_or(text);
    let is_http = bare.starts_with("http://") || bare.starts_with("https://");
    (is_http && bare.ends_with(".git"))
        || ["git://", "ssh://", "git@", "file://"]
            .iter()
            .any(|start| bare.starts_with(start))
}

impl GitSource {
    /// Reads `ADDRESS[#REF[:FOLDER]]` or `ADDRESS?ref=…&subdir=…`.
    ///
    /// # Errors
    /// A query that isn't known.
    pub fn parse(text: &str) -> Result<GitSource, GitError> {
        let (text, fragment) = match text.split_once('#') {
            Some((text, fragment)) => (text, Some(fragment)),
            None => (text, None),
        };
        let (url, query) = match text.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (text, None),
        };
        let mut source = GitSource {
            url: url.to_owned(),
            ..GitSource::default()
        };
        let own = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        if let Some(fragment) = fragment {
            let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
            (source.reference, source.folder) = (own(reference), own(folder));
        }
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value);
            let yes = || match value.as_str() {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(GitError::new(format!("invalid value of `{key}` in {text}"))),
            };
            match key {
                "ref" => source.reference = own(&value),
                "branch" => source.reference = own(&value).map(|name| format!("refs/heads/{name}")),
                "tag" => source.reference = own(&value).map(|name| format!("refs/tags/{name}")),
                "subdir" => source.folder = own(&value),
                "checksum" | "commit" => source.checksum = own(&value),
                "keep-git-dir" => source.keeps_git = Some(yes()?),
                "submodules" => source.without_submodules = !yes()?,
                _ => {
                    return Err(GitError {
                        message: format!("unexpected query parameter \"{key}\" in {}", redact_url(text)),
                        help: Some(
                            "known are ref, branch, tag, subdir, checksum, keep-git-dir and submodules"
                                .into(),
                        ),
                    });
                }
            }
        }
        if source.reference.is_none() {
            source.reference.clone_from(&source.checksum);
        }
        Ok(source)
    }

    /// The last name of the address.
    pub fn name(&self) -> String {
        let path = self.url.trim_end_matches('/').trim_end_matches(".git");
        path.rsplit(['/', ':']).next().unwrap_or("").to_owned()
    }
}

/// Files that hold a token, for as long as one call takes.
struct Header(PathBuf);

impl Drop for Header {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Git {
    /// Fetches a repository into a folder that isn't there yet; gives the commit, and the folder that is meant.
    ///
    /// # Errors
    /// When it can't be reached, or has no such place. The folder is the caller's to remove.
    pub fn checkout(&self, source: &GitSource, into: &Path) -> Result<(String, PathBuf), GitError> {
        let header = self.header(source, into)?;
        let run = |words: &[&str]| self.run(source, header.as_ref(), words);
        let place = into
            .to_str()
            .ok_or_else(|| GitError::new("the data root's path is no UTF-8"))?;
        run(&["init", "-q", "--template=", "--", place])?;
        let inside = |words: &[&str]| {
            let all: Vec<&str> = ["-C", place].into_iter().chain(words.iter().copied()).collect();
            run(&all)
        };
        // Submodules may be named beside it.
        inside(&["config", "remote.origin.url", &source.url])?;
        let wanted = source.reference.as_deref().unwrap_or("HEAD");
        if wanted.starts_with('-') || wanted.contains(':') {
            return Err(GitError {
                message: format!("`{wanted}` is no branch, tag or commit"),
                help: Some("write ADDRESS#REF or ADDRESS#REF:FOLDER".into()),
            });
        }
        let fetch = ["fetch", "-q", "--no-tags"];
        let fetched = inside(&[&fetch[..], &["--depth", "1", "--", &source.url, wanted]].concat());
        let mut target = "FETCH_HEAD^{commit}".to_owned();
        if let Err(error) = fetched {
            let is_commit = wanted.len() >= 7 && wanted.chars().all(|c| c.is_ascii_hexdigit());
            if !is_commit {
                return Err(self.no_such(source, wanted, error));
            }
            // Servers may refuse to give a commit alone, and know no short names.
            let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
            inside(&[&fetch[..], &["--", &source.url], &all].concat())?;
            target = format!("{wanted}^{{commit}}");
        }
        inside(&["checkout", "-q", "--force", "--detach", &target])
            .map_err(|error| self.no_such(source, wanted, error))?;
        if into.join(".gitmodules").exists() && !source.without_submodules {
            let update = [
                "submodule",
                "update",
                "-q",
                "--init",
                "--recursive",
                "--depth",
                "1",
            ];
            inside(&update)?;
        }
        let commit = inside(&["rev-parse", "HEAD"])?.trim().to_owned();
        if let Some(checksum) = &source.checksum
            && !commit.starts_with(checksum.as_str())
        {
            return Err(GitError {
                message: format!("expected checksum to match {checksum}, got {commit}"),
                help: Some(format!(
                    "what {} names in the repository is another commit now",
                    source.reference.as_deref().unwrap_or("HEAD")
                )),
            });
        }
        if source.keeps_git == Some(true) {
            inside(&["config", "remote.origin.url", &redact_url(&source.url)])?;
        } else {
            without_git(into)?;
        }
        plain_modes(into)?;
        let Some(folder) = &source.folder else {
            return Ok((commit, into.to_owned()));
        };
        let (root, real) = (
            fs::canonicalize(into)?,
            fs::canonicalize(into.join(folder.trim_start_matches('/'))),
        );
        match real {
            Ok(real) if real.starts_with(&root) && real.is_dir() => Ok((commit, real)),
            Ok(real) if !real.starts_with(&root) => Err(GitError {
                message: format!("the folder {folder} leads out of the repository"),
                help: Some("give the path of a folder in the repository".into()),
            }),
            _ => Err(GitError {
                message: format!(
                    "the repository {} has no folder {folder} at {wanted}",
                    redact_url(&source.url)
                ),
                help: Some("write ADDRESS#REF:FOLDER, the folder as it is called in the repository".into()),
            }),
        }
    }

    fn no_such(&self, source: &GitSource, wanted: &str, error: GitError) -> GitError {
        if error.message.contains("find remote ref") || error.message.contains("unknown revision") {
            return GitError {
                message: format!(
                    "the repository {} has no branch, tag or commit {wanted}",
                    redact_url(&source.url)
                ),
                help: Some(format!(
                    "`git ls-remote {}` lists what it has",
                    redact_url(&source.url)
                )),
            };
        }
        error
    }

    /// The token in a file, which no list of processes shows.
    fn header(&self, source: &GitSource, into: &Path) -> Result<Option<Header>, GitError> {
        let Some((token, folder)) = self.token.as_ref().filter(|_| source.url.starts_with("https://")) else {
            return Ok(None);
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let unique = into.file_name().unwrap_or_default().to_string_lossy();
        let place = folder.join(format!(".git-{unique}.{}.part", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&place)?;
        let header = Header(place);
        let end = source.url[8..].find('/').map_or(source.url.len(), |at| at + 8);
        let authorization = basic_authorization("x-access-token", token);
        writeln!(
            file,
            "[http \"{}/\"]\n\textraHeader = Authorization: {authorization}",
            &source.url[..end]
        )?;
        Ok(Some(header))
    }

    fn run(&self, source: &GitSource, header: Option<&Header>, words: &[&str]) -> Result<String, GitError> {
        let mut command = Command::new(&self.program);
        // Nothing of the user's own runs, and files stand as they are in the repository.
        command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command.args(["-c", "core.autocrlf=false", "-c", "advice.detachedHead=false"]);
        // What a repository names as its submodules is not the user's word: neither programs nor files of this machine.
        command.args(["-c", "protocol.allow=never", "-c", "protocol.file.allow=user"]);
        for name in ["git", "http", "https", "ssh"] {
            command.args(["-c", &format!("protocol.{name}.allow=always")]);
        }
        if let Some(Header(place)) = header {
            command.arg("-c").arg(format!("include.path={}", place.display()));
        }
        command
            .args(words)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C");
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_OBJECT_DIRECTORY",
            "GIT_ALLOW_PROTOCOL",
            "GIT_PROTOCOL_FROM_USER",
        ] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        let done = command.output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(&source.url),
            _ => GitError::new(format!("{} cannot be run: {error}", self.program.display())),
        })?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let said = said
            .join("\n  git: ")
            .replace(&source.url, &redact_url(&source.url));
        let message = format!(
            "the git repository {} cannot be fetched\n  git: {said}",
            redact_url(&source.url)
        );
        let help = if said.contains("not allowed") && said.contains("transport") {
            Some("a submodule's address must be of the network: leave submodules out with ADDRESS?submodules=false".to_owned())
        } else if said.contains("could not read Username") || said.contains("Authentication failed") {
            Some("give a token: --secret id=GIT_AUTH_TOKEN,env=YOUR_TOKEN".to_owned())
        } else if said.contains("dubious ownership") {
            Some("the repository is another user's: git config --global --add safe.directory PATH".to_owned())
        } else if said.contains("Permission denied (publickey") || said.contains("Host key verification") {
            Some("try `ssh` to that host first: it must know the host, and the host your key".to_owned())
        } else {
            Some("see that the address is right and can be reached: git ls-remote ADDRESS".to_owned())
        };
        Err(GitError { message, help })
    }
}

/// What is told where there is no git.
pub fn missing(url: &str) -> GitError {
    GitError {
        message: format!(
            "{} is a git repository, and git is not installed here",
            redact_url(url)
        ),
        help: Some("install git, or get the files in another way and give their folder".into()),
    }
}

/// Removes `.git`, and those of submodules.
fn without_git(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if entry.file_name() == ".git" {
            match kind.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        } else if kind.is_dir() {
            without_git(&entry.path())?;
        }
    }
    Ok(())
}

/// Modes as git knows them, whatever the user's own mask is: programs and all else.
fn plain_modes(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            plain_modes(&entry.path())?;
        } else if meta.is_file() {
            let mode = match meta.permissions().mode() & 0o100 {
                0 => 0o644,
                _ => 0o755,
            };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_their_places() {
        let read = |text: &str| GitSource::parse(text).unwrap();
        let some = |text: &str| Some(text.to_owned());
        let source = read("https://host/a/b.git#v1:sub/folder");
        assert_eq!(source.url, "https://host/a/b.git");
        assert_eq!(
            (source.reference.clone(), source.folder.clone()),
            (some("v1"), some("sub/folder"))
        );
        assert_eq!(source.name(), "b");
        assert_eq!(read("git@host:a/b.git#:x").folder, some("x"));
        assert_eq!(read("git@host:a/b.git").name(), "b");
        let source = read("https://host/b.git?branch=x&subdir=y%2Fz&keep-git-dir=1");
        assert_eq!(source.reference, some("refs/heads/x"));
        assert_eq!((source.folder, source.keeps_git), (some("y/z"), Some(true)));
        let source = read("https://host/b.git?checksum=abcdef1");
        assert_eq!(
            (source.reference, source.checksum),
            (some("abcdef1"), some("abcdef1"))
        );
        assert!(GitSource::parse("https://host/b.git?wrong=1").is_err());
        for text in [
            "https://h/a.git",
            "http://h/a.git#main",
            "git@h:a",
            "ssh://h/a",
            "file:///a",
        ] {
            assert!(is_git(text), "{text}");
        }
        for text in ["https://h/a.tar.gz", "a/b.git", "https://h/a.git.tar"] {
            assert!(!is_git(text), "{text}");
        }
    }
}
