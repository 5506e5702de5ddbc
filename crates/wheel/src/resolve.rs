//! Resolution of projects that have no lock, by uv, with builds disabled.
//!
//! uv is the program that the caller found, or a pinned wheel from the package index. It is given an interpreter of the
//! image's version through a wrapper, so the build machine needs no Python. It reads no configuration but ours, which says what
//! all of the user's and the project's settings come to; logins go through the environment, so that the list of processes and
//! the disk know none.

mod configuration;
mod error;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use coil_fetch::{Fetcher, Progress};
use coil_oci::{Arch, Digest};
use coil_python::Libc;
use coil_python::uv_settings::UvResolution;
use coil_store::Store;

use crate::archive::{Archive, ArchiveError, Inflater};
use crate::bytecode::Interpreter;
use crate::download::{self, DownloadOptions, WheelRequest};
use crate::index::{IndexClient, IndexSettings};
use configuration::{Configuration, tidy, warnings};

pub use error::ResolveError;

/// The version of uv that is fetched where none is installed.
pub const UV_VERSION: &str = "0.13.8";

/// The wheel of uv for the build machine and its digest.
fn uv_wheel() -> Option<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Some((
            "uv-0.13.8-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
        )),
        "aarch64" => Some((
            "uv-0.13.8-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
            "0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d",
        )),
        _ => None,
    }
}

/// What is to be resolved, and for which target.
#[derive(Debug, Clone)]
pub struct ResolveRequest<'a> {
    /// The requirements, in the format of requirements.txt.
    pub requirements: &'a str,
    /// Constraints in the same format, empty where there are none.
    pub constraints: &'a str,
    /// The target's full Python version.
    pub python: &'a str,
    /// The target's architecture.
    pub arch: Arch,
    /// The target's C library.
    pub libc: Libc,
    /// The indices.
    pub index: &'a IndexSettings,
    /// What the project says of the resolution, and which packages name their index.
    pub uv: &'a UvResolution,
    /// More options for `uv pip compile`, such as `--prerelease=allow`.
    pub options: &'a [String],
    /// Environment for uv: certificates, proxies, the netrc file.
    pub environment: &'a [(OsString, OsString)],
    /// The project's folder, from which relative paths count.
    pub directory: &'a Path,
    /// Whether only what uv has cached may be used.
    pub offline: bool,
}

/// What uv found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// A pylock.toml (PEP 751).
    pub lock: String,
    /// What uv warned of, one line each: versions that were taken back.
    pub warnings: Vec<String>,
}

/// Finds uv: the program given, else the pinned wheel's, downloaded and unpacked once.
pub fn find_uv(
    store: &Store,
    fetcher: &Fetcher,
    index: &IndexClient<'_>,
    installed: Option<&Path>,
    progress: &dyn Progress,
) -> Result<PathBuf, ResolveError> {
    if let Some(installed) = installed {
        return Ok(installed.to_owned());
    }
    let (filename, hex) = uv_wheel().ok_or(ResolveError::NoUv)?;
    let sha256 = Digest::from_hex(hex).map_err(|_| ResolveError::NoUv)?;
    let program = store.download_path("uv", &format!("{hex}/uv"));
    if program.is_file() {
        return Ok(program);
    }
    let request = WheelRequest {
        name: "uv".into(),
        version: UV_VERSION.into(),
        filename: filename.into(),
        url: None,
        sha256: Some(sha256),
        ..WheelRequest::default()
    };
    let options = DownloadOptions {
        threads: 1,
        verify: true,
    };
    let fetched =
        download::download(store, fetcher, index, &[request], options, progress).map_err(|source| {
            ResolveError::Download {
                source: Box::new(source),
            }
        })?;
    let wheel = fetched.first().ok_or(ResolveError::NoUv)?;
    unpack(store, &wheel.path, &program)?;
    Ok(program)
}

/// Takes the program out of uv's wheel.
fn unpack(store: &Store, wheel: &Path, program: &Path) -> Result<(), ResolveError> {
    let archive = Archive::open(wheel).map_err(|source| ResolveError::Unpack { source })?;
    let entry = archive
        .find(&format!("uv-{UV_VERSION}.data/scripts/uv"))
        .ok_or(ResolveError::NoUv)?;
    let disk = |source| ResolveError::Unpack {
        source: ArchiveError::Write(source),
    };
    let temporary = store.temp_path().map_err(disk)?;
    let written = create(&temporary, 0o755).map_err(disk).and_then(|mut file| {
        archive
            .stream(entry, &mut Inflater::new(), &mut |_, plain| file.write_all(plain))
            .map_err(|source| ResolveError::Unpack { source })?;
        drop(file);
        std::fs::rename(&temporary, program).map_err(disk)
    });
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn create(path: &Path, mode: u32) -> std::io::Result<File> {
    File::options().write(true).create_new(true).mode(mode).open(path)
}

/// Resolves requirements for one target; only wheels are chosen.
pub fn resolve(
    store: &Store,
    uv: &Path,
    interpreter: &Interpreter,
    request: &ResolveRequest<'_>,
) -> Result<Resolved, ResolveError> {
    let disk = |source| ResolveError::Disk { source };
    let folder = Folder(store.temp_path().map_err(disk)?);
    std::fs::create_dir_all(&folder.0).map_err(disk)?;
    let python = folder.0.join("python");
    write(&python, wrapper(interpreter).as_encoded_bytes(), 0o700).map_err(disk)?;
    let told = Configuration::new(request.index, request.uv, request.requirements);
    let settings = folder.0.join("uv.toml");
    write(&settings, told.settings.as_bytes(), 0o600).map_err(disk)?;
    let project = folder.0.join("pyproject.toml");
    if let Some(text) = &told.project {
        write(&project, text.as_bytes(), 0o600).map_err(disk)?;
    }
    let mut command = Command::new(uv);
    command.args([
        "pip",
        "compile",
        "--no-progress",
        "--color=never",
        "--no-build",
        "--no-header",
    ]);
    command.args(["--format=pylock.toml", "--python-version", request.python]);
    command
        .args(["--python-platform", platform(request.arch, request.libc)])
        .arg("--python")
        .arg(&python);
    if !request.constraints.is_empty() {
        let constraints = folder.0.join("constraints.txt");
        write(&constraints, request.constraints.as_bytes(), 0o600).map_err(disk)?;
        command.arg("--constraints").arg(constraints);
    }
    if request.offline {
        command.arg("--offline");
    }
    command.args(request.options).current_dir(request.directory);
    match told.project {
        Some(_) => command.arg(&project),
        None => command.arg("-"),
    };
    command
        .env_clear()
        .envs(request.environment.iter().map(|(name, value)| (name, value)));
    command.envs(told.environment.iter().map(|(name, value)| (name, value)));
    // uv takes Mozilla's list where it isn't told; ours are the machine's own authorities.
    command
        .env("UV_SYSTEM_CERTS", "true")
        .env("UV_CONFIG_FILE", &settings)
        .env("UV_PYTHON_DOWNLOADS", "never")
        .env("UV_CACHE_DIR", store.download_path("uv", "cache"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let fail = |source| ResolveError::Start {
        program: uv.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(fail)?;
    let mut input = child.stdin.take().expect("its input was asked for as a pipe");
    let mut errors = child.stderr.take().expect("its errors were asked for as a pipe");
    let output = std::thread::scope(|scope| {
        // uv that gives up early closes its input; its own words are better than that error.
        scope.spawn(move || input.write_all(request.requirements.as_bytes()));
        let errors = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = errors.read_to_end(&mut text);
            text
        });
        let mut text = Vec::new();
        let mut output = child.stdout.take().expect("its output was asked for as a pipe");
        let read = output.read_to_end(&mut text);
        let status = child.wait();
        let errors = errors.join().unwrap_or_default();
        read.and(status).map(|status| (status, text, errors))
    });
    let (status, text, errors) = output.map_err(fail)?;
    let words = String::from_utf8_lossy(&errors);
    if !status.success() {
        return Err(ResolveError::Failed {
            words: tidy(&words, request.index),
        });
    }
    Ok(Resolved {
        lock: String::from_utf8(text).map_err(|_| ResolveError::NotText)?,
        warnings: warnings(&words, request.index),
    })
}

/// A folder that goes when it is no longer needed.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    create(path, mode)?.write_all(content)
}

/// A script that starts the interpreter as one program, which is what uv expects.
fn wrapper(interpreter: &Interpreter) -> OsString {
    let mut text = OsString::from("#!/bin/sh\n");
    if let Some(home) = &interpreter.home {
        text.push("PYTHONHOME=");
        text.push(quoted(home.as_os_str().to_owned()));
        text.push("\nexport PYTHONHOME\n");
    }
    text.push("exec ");
    text.push(quoted(interpreter.program.clone().into_os_string()));
    for argument in &interpreter.arguments {
        text.push(" ");
        text.push(quoted(argument.clone()));
    }
    text.push(" \"$@\"\n");
    text
}

/// One word for sh.
fn quoted(word: OsString) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut out = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            other => out.push(*other),
        }
    }
    out.push(b'\'');
    OsString::from_vec(out)
}

/// uv's name of the target: the newest platform it knows that the target's glibc satisfies.
fn platform(arch: Arch, libc: Libc) -> &'static str {
    let glibc = match (libc, arch) {
        (Libc::Glibc(major, minor), _) => (major, minor),
        (Libc::Musl(..), Arch::Amd64) => return "x86_64-unknown-linux-musl",
        (Libc::Musl(..), Arch::Arm64) => return "aarch64-unknown-linux-musl",
    };
    macro_rules! platforms {
        ($arch:literal) => {
            [
                (40, concat!($arch, "-manylinux_2_40")),
                (39, concat!($arch, "-manylinux_2_39")),
                (38, concat!($arch, "-manylinux_2_38")),
                (37, concat!($arch, "-manylinux_2_37")),
                (36, concat!($arch, "-manylinux_2_36")),
                (35, concat!($arch, "-manylinux_2_35")),
                (34, concat!($arch, "-manylinux_2_34")),
                (33, concat!($arch, "-manylinux_2_33")),
                (32, concat!($arch, "-manylinux_2_32")),
                (31, concat!($arch, "-manylinux_2_31")),
                (28, concat!($arch, "-manylinux_2_28")),
                (17, concat!($arch, "-manylinux_2_17")),
            ]
        };
    }
    let known = match arch {
        Arch::Amd64 => platforms!("x86_64"),
        Arch::Arm64 => platforms!("aarch64"),
    };
    let fits = known.iter().find(|(minor, _)| glibc >= (2, *minor));
    fits.map_or(known[known.len() - 1].1, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_the_newest_that_fit() {
        assert_eq!(platform(Arch::Amd64, Libc::Glibc(2, 36)), "x86_64-manylinux_2_36");
        assert_eq!(
            platform(Arch::Arm64, Libc::Glibc(2, 42)),
            "aarch64-manylinux_2_40"
        );
        assert_eq!(platform(Arch::Amd64, Libc::Glibc(2, 30)), "x86_64-manylinux_2_28");
        assert_eq!(platform(Arch::Amd64, Libc::Glibc(2, 5)), "x86_64-manylinux_2_17");
    }

    #[test]
    fn words_for_sh_stay_one_word() {
        assert_eq!(quoted("a b'c".into()), OsString::from("'a b'\\''c'"));
    }
}
