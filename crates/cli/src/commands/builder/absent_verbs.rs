//! What `docker buildx` has and coil has not: each is refused by its name, with what to do instead.

use clap::{Args, Subcommand};

use crate::report::Failure;

/// All words behind a command.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// The commands that are missing.
#[derive(Debug, Subcommand)]
pub enum AbsentVerbs {
    /// Build what a file lists: not yet
    #[command(alias = "f", hide = true)]
    Bake(Words),
    /// Work on images in registries: not yet
    #[command(hide = true)]
    Imagetools(Words),
    /// Look at earlier builds: coil keeps no list of them
    #[command(hide = true)]
    History(Words),
    /// Connect to a builder: there is no daemon
    #[command(hide = true)]
    DialStdio(Words),
    /// A debugger for builds: `build --debug` is coil's
    #[command(hide = true)]
    Dap(Words),
    /// Policies of builds
    #[command(hide = true)]
    Policy(Words),
}

impl AbsentVerbs {
    /// Why it can't be done.
    pub fn refusal(&self) -> Failure {
        let (name, why, words, help) = match self {
            AbsentVerbs::Bake(words) => (
                "bake",
                "coil reads no bake files",
                words,
                "build each target by itself: `coil build -f FILE --target STAGE -t NAME CONTEXT`; `docker buildx bake --print` shows what each one is",
            ),
            AbsentVerbs::Imagetools(words) => (
                "imagetools",
                "coil writes to no registry yet",
                words,
                match words.words.first().map(String::as_str) {
                    Some("inspect") => {
                        "`skopeo inspect docker://NAME` shows an image of a registry; `coil pull` gets it, `coil inspect` shows it then"
                    }
                    _ => {
                        "one build makes an image for several platforms: `coil build --platform linux/amd64,linux/arm64 -o type=oci,dest=FILE .`"
                    }
                },
            ),
            AbsentVerbs::History(words) => (
                "history",
                "coil keeps no records of builds",
                words,
                "`coil build --metadata-file FILE` writes what came of a build, `coil history IMAGE` shows an image's steps",
            ),
            AbsentVerbs::DialStdio(words) => (
                "dial-stdio",
                "there is no daemon to connect to",
                words,
                "`coil build` builds by itself",
            ),
            AbsentVerbs::Dap(words) => (
                "dap",
                "coil speaks no debuggers' protocol",
                words,
                "`coil build --debug` opens a shell where a step fails, `--debug=STAGE` at the end of a stage",
            ),
            AbsentVerbs::Policy(words) => (
                "policy",
                "coil reads no policies",
                words,
                "pin what a Dockerfile takes: FROM name@sha256:…, ADD --checksum=…",
            ),
        };
        let rest: String = words
            .words
            .iter()
            .take(1)
            .map(|word| format!(" {word}"))
            .collect();
        Failure::new(format!("buildx {name}{rest} cannot be honoured: {why}")).help(help)
    }
}
