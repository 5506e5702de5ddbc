//! Archives that a command writes: to a file that appears whole, or to whoever reads standard output.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use coil_sys::{file, terminal};

use crate::report::Failure;

/// Writes an archive to a file, or without one to standard output, which may be no terminal.
///
/// # Errors
/// What `write` says, and what the disk gives; nothing half-written stays.
pub fn write_archive(
    path: Option<&Path>,
    verb: &str,
    write: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Some(path) = path else {
        if file::standard(1).is_some_and(terminal::is_terminal) {
            return Err(Failure::new(format!(
                "cowardly refusing to {verb} to a terminal. Use the -o flag or redirect"
            ))
            .help(format!("coil {verb} -o FILE …")));
        }
        let mut out = BufWriter::with_capacity(256 * 1024, io::stdout().lock());
        write(&mut out)?;
        crate::output::settle(out.flush());
        return Ok(());
    };
    let failed = |source: io::Error| {
        Failure::new(format!(
            "writing {} failed\n  caused by: {source}",
            path.display()
        ))
        .help("give a place that can be written and has room")
    };
    // A pipe or a device is written as it is.
    if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(failed)?);
        write(&mut out)?;
        return out.flush().map_err(failed);
    }
    let temporary = beside(path);
    let written = (|| {
        let mut out = BufWriter::with_capacity(256 * 1024, File::create(&temporary).map_err(failed)?);
        write(&mut out)?;
        out.flush().map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.part", std::process::id()))
}
