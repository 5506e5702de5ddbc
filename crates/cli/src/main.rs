//! The command line: arguments, settings, printing and exit codes; the work is done by the engine.

mod absent;
mod apt_settings;
mod archive_file;
mod arguments;
mod attach;
mod bill_file;
mod build_attestations;
mod build_caches;
mod build_call;
mod build_context;
mod build_debug;
mod build_flags;
mod build_limits;
mod build_more_flags;
mod build_progress;
mod build_screen;
mod build_view;
mod client_flags;
mod commands;
mod confirmation;
mod container_flags;
mod detach_keys;
mod disk_flags;
mod environment;
mod environment_flags;
mod format_settings;
mod host_flags;
mod host_path;
mod host_view;
mod image_fetch;
mod index_settings;
mod limit_flags;
mod list_filters;
mod moment;
mod network_flags;
mod network_settings;
mod one_command;
mod output;
mod pack_report;
mod packing;
mod pip_settings;
mod platform_flag;
mod port_list;
mod progress;
mod prune_flags;
mod quantity;
mod registry_settings;
mod report;
mod run_root;
mod selection_flags;
mod settings;
mod signals;
mod ssh_agents;
mod sweep;
mod table;
mod template;
mod volume_flags;
mod wrong_words;

use std::ffi::OsString;
use std::process::ExitCode;

use environment::Environment;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // What coil runs of itself comes first: it has one thread and a small memory, and reads no settings.
    if words.get(1).is_some_and(|word| word == "internal") {
        let rest: Vec<String> = words[2..]
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let code = match rest.split_first() {
            Some((word, rest)) if word == "sweep" => sweep::sweep_main(rest),
            _ => coil_engine::internal_main(&rest),
        };
        return exit_code(code);
    }
    let mut environment = Environment::of_this_process();
    let arguments = match arguments::parse(&words, &environment) {
        Ok(arguments) => arguments,
        Err(failure) => return exit_code(failure.show(None)),
    };
    if let Some(folder) = &arguments.global.client.config {
        environment.set("DOCKER_CONFIG", folder);
    }
    let mut settings = match settings::Settings::new(environment, arguments.global.root.as_deref()) {
        Ok(settings) => settings.called(arguments.as_docker),
        Err(failure) => return exit_code(failure.show(None)),
    };
    // Before there is another thread. These two look at no files of containers, and one at what the user has by itself.
    if !matches!(
        arguments.command,
        arguments::Command::Doctor(_) | arguments::Command::Version(_)
    ) {
        settings.enter_user_ids();
    }
    let code = match commands::run(arguments.command, &settings) {
        Ok(code) => code,
        Err(failure) => failure.show(Some(settings.root())),
    };
    output::flush();
    exit_code(code)
}

/// Exit codes have eight bits; what doesn't fit is an engine's error.
fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(125))
}
