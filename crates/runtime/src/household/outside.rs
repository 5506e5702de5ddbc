//! What connects a household to the outside: pasta, where it is installed and works.

use coil_sys::process;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to stand.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is less without it, for the user; `failure` is what pasta said where it is installed.
pub(super) fn less(failure: Option<&str>) -> String {
    let less =
        "containers of this user reach other machines by TCP and by name alone, through a relay of coil's";
    match failure {
        None => format!("{less}; for all else (UDP, ping) install pasta (package passt)"),
        Some(failure) => {
            format!("{less}; all else (UDP, ping) needs pasta, which does not work here: {failure}")
        }
    }
}

/// The file in the household's folder that says which process pasta is.
const NUMBER: &str = "pasta.pid";

/// Ends the pasta that connects the namespaces of a keeper, if there is one.
pub(super) fn disconnect(folder: &Path, keeper: i32) {
    let path = folder.join(NUMBER);
    let number = std::fs::read_to_string(&path).ok();
    let Some(number) = number.and_then(|text| text.trim().parse::<i32>().ok()) else {
        return;
    };
    // The number may be another's by now.
    let words = std::fs::read_to_string(format!("/proc/{number}/cmdline")).unwrap_or_default();
    if number > 1 && words.contains(&format!("/proc/{keeper}/ns/net")) {
        // It is the first of its own process namespace: a milder signal does not reach it.
        let _ = process::kill(number, libc::SIGKILL);
    }
    let _ = std::fs::remove_file(path);
}

/// Has pasta connect the namespaces of a keeper, until [`disconnect`]; `inside` says that this process is in the keeper's
/// user namespace already.
///
/// # Errors
/// The last that it said.
pub(super) fn connect(program: &Path, folder: &Path, keeper: i32, inside: bool) -> Result<(), String> {
    let mut command = Command::new(program);
    command
        .args(["--config-net", "--quiet", "--no-map-gw"])
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .arg("--pid")
        .arg(folder.join(NUMBER));
    if !inside {
        command.arg("--userns").arg(format!("/proc/{keeper}/ns/user"));
    }
    command
        .arg("--netns")
        .arg(format!("/proc/{keeper}/ns/net"))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut started = command.spawn().map_err(|error| error.to_string())?;
    // It goes to the background when it stands.
    let until = Instant::now() + PATIENCE;
    loop {
        match started.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = started.kill();
                let _ = started.wait();
                return Err(format!("it does not stand after {} s", PATIENCE.as_secs()));
            }
        }
    }
    let mut said = String::new();
    if let Some(errors) = &mut started.stderr {
        // Without its words it is no less clear that it failed.
        let _ = errors.read_to_string(&mut said);
    }
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(last.unwrap_or("it ended without a word").trim().to_owned())
}
