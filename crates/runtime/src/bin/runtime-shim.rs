//! The monitor and the exec helper as a program of their own, for this crate's tests; and `run DIRECTORY`,
//! `run-in DIRECTORY WORD…` and `facts DIRECTORY`, with which the tests do as another user what they do themselves as root.

use coil_runtime::probe::ProbeSettings;
use coil_runtime::spec::ContainerSpec;
use coil_runtime::{ExecSpec, Stdio3};
use std::path::Path;
use std::process::{ExitCode, Stdio};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let rest = args.get(3..).unwrap_or_default();
    let role = args.get(2).map(String::as_str);
    let code = match role.filter(|_| args[1] == "internal") {
        Some("monitor") => coil_runtime::monitor_main(rest),
        Some("household") => coil_runtime::keeper_main(rest),
        Some("exec") => coil_runtime::exec_main(rest),
        Some("run") => run(rest),
        Some("run-in") => run_in(rest),
        Some("facts") => facts(rest),
        _ => 125,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}

fn spec(directory: &str) -> ContainerSpec {
    let bytes = std::fs::read(Path::new(directory).join("spec.json")).expect("spec.json is there");
    serde_json::from_slice(&bytes).expect("spec.json is a spec")
}

fn run(args: &[String]) -> i32 {
    let spec = spec(&args[0]);
    match coil_runtime::start(Path::new("/proc/self/exe"), &spec, true) {
        Ok(started) => {
            let client = started.client.expect("attached");
            client
                .copy_output(std::io::stdout(), std::io::stderr())
                .expect("an end")
                .code
        }
        Err(error) => {
            use std::io::Write;
            writeln!(std::io::stderr(), "{error}").expect("standard error");
            error.exit_code()
        }
    }
}

fn run_in(args: &[String]) -> i32 {
    let container = spec(&args[0]);
    let command = ExecSpec {
        args: args[1..].to_vec(),
        env: container.env.clone(),
        cwd: "/".to_owned(),
        user: container.user.clone(),
        terminal: false,
        tty_size: None,
        detach_keys: Vec::new(),
        capabilities: None,
        privileged: false,
        ends_with_parent: false,
        begun: None,
    };
    let stdio = Stdio3 {
        input: Stdio::null(),
        output: Stdio::inherit(),
        errors: Stdio::inherit(),
    };
    let exe = Path::new("/proc/self/exe");
    match coil_runtime::exec(exe, &container.container_dir, &container.run_dir, &command, stdio) {
        Ok(code) => code,
        Err(error) => {
            use std::io::Write;
            writeln!(std::io::stderr(), "{error}").expect("standard error");
            error.exit_code()
        }
    }
}

fn facts(args: &[String]) -> i32 {
    use std::io::Write;
    let scratch = std::path::PathBuf::from(&args[0]);
    let settings = ProbeSettings {
        search_path: vec!["/usr/bin".into()],
        user_name: None,
        data_root: scratch.join("not/yet/made"),
        scratch,
    };
    for fact in coil_runtime::probe::facts(&settings) {
        let (ok, name, consequence) = (fact.ok, fact.name, fact.consequence);
        writeln!(std::io::stdout(), "{name}: {ok:?} ({consequence})").expect("standard output");
    }
    0
}
