//! Standard output and standard error: a reader that has gone away ends coil quietly, as it ends any other program.

use std::io::{self, Write};

/// What a shell shows for a program that wrote to nobody: 128 + SIGPIPE.
pub const NOBODY_READS: i32 = 141;

/// Prints text to standard output as it is.
pub fn print(text: &str) {
    settle(io::stdout().lock().write_all(text.as_bytes()));
}

/// Prints a line to standard output.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    settle(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")));
}

/// Prints a line to standard error; who doesn't read it misses it.
pub fn error_line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints a JSON value over several lines, indented as Docker does.
pub fn json(value: &impl serde::Serialize) {
    let mut bytes = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Values of our own, with text keys, always serialize.
    if value.serialize(&mut serializer).is_ok() {
        line(&String::from_utf8_lossy(&bytes));
    }
}

/// Brings out what is still held back.
pub fn flush() {
    settle(io::stdout().lock().flush());
}

/// Ends the program when standard output takes nothing more.
pub fn settle(written: io::Result<()>) {
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(NOBODY_READS),
        Err(error) => {
            error_line(&format!(
                "error: standard output cannot be written\n  caused by: {error}"
            ));
            std::process::exit(1)
        }
    }
}
