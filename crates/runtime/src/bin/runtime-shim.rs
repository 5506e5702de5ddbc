//! The monitor and the exec helper as a program of their own, for this crate's tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let rest = args.get(3..).unwrap_or_default();
    let code = match args.get(1..3) {
        Some([internal, role]) if internal == "internal" && role == "monitor" => coil_runtime::monitor_main(rest),
        Some([internal, role]) if internal == "internal" && role == "exec" => coil_runtime::exec_main(rest),
        _ => 125,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}
