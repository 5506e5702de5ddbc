//! What is right in a Dockerfile and still a mistake: BuildKit's checks under their names, and coil's own about Python.

mod python;
mod stages;
mod style;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

use crate::fault::{Fault, Span};
use crate::lines::nodes;
use crate::stage::Dockerfile;

/// Something that should be mended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// Its lines.
    pub line: usize,
    /// The last of them.
    pub end_line: usize,
    /// The check's name.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Warning {
    pub(crate) fn new(
        span: Span,
        rule: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Warning {
        Warning {
            line: span.line,
            end_line: span.end_line,
            rule,
            message: message.into(),
            help: help.into(),
        }
    }

    /// Its lines of the text, marked, with what stands around them.
    pub fn excerpt(&self, text: &str, name: &str) -> String {
        Fault::new(Span::new(self.line, self.end_line), "").excerpt(text, name)
    }
}

/// What is known besides the text.
pub struct Surroundings<'a> {
    /// The patterns of the ignore file.
    pub ignored: &'a [String],
    /// Whether there is an ignore file; none where there is no context.
    pub has_ignore_file: Option<bool>,
    /// Values of arguments.
    pub args: &'a BTreeMap<String, String>,
    /// The names of an image's variables, where it is known.
    pub base_variables: &'a dyn Fn(&str) -> Option<Vec<String>>,
    /// The platforms that an image is for, where it is known and not for the one that is wanted; and that one.
    pub foreign_base: &'a dyn Fn(&str) -> Option<(String, String)>,
    /// A text file of the context.
    pub read: &'a dyn Fn(&str) -> Option<String>,
    /// The index of the stage that is wanted.
    pub target: usize,
}

/// BuildKit's checks, in its order.
pub const BUILDKIT_RULES: [&str; 22] = [
    "StageNameCasing",
    "FromAsCasing",
    "NoEmptyContinuation",
    "ConsistentInstructionCasing",
    "DuplicateStageName",
    "ReservedStageName",
    "JSONArgsRecommended",
    "MaintainerDeprecated",
    "UndefinedArgInFrom",
    "WorkdirRelativePath",
    "UndefinedVar",
    "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat",
    "InvalidBaseImagePlatform",
    "RedundantTargetPlatform",
    "SecretsUsedInArgOrEnv",
    "InvalidDefaultArgInFrom",
    "FromPlatformFlagConstDisallowed",
    "CopyIgnoredFile",
    "InvalidDefinitionDescription",
    "ExposeProtoCasing",
    "ExposeInvalidFormat",
];

/// coil's own checks.
pub const OWN_RULES: [&str; 9] = [
    "CacheOrder",
    "HealthcheckNeedsProgram",
    "HealthcheckNeedsPackage",
    "LatestTag",
    "NoIgnoreFile",
    "PackagesLeftBehind",
    "PipCacheKept",
    "RunsAsRoot",
    "SecretFileCopied",
];

/// Checks that run only where they are asked for.
const EXPERIMENTAL: [&str; 2] = ["CopyIgnoredFile", "InvalidDefinitionDescription"];

/// Which checks count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// Those that don't; `all` for every one.
    pub skip: BTreeSet<String>,
    /// Those that are asked for though they are experimental; `all` for every one.
    pub experimental: BTreeSet<String>,
    /// Whether a warning makes the build fail.
    pub error: bool,
}

impl Choice {
    /// Reads `skip=A,B;error=true;experimental=C`.
    ///
    /// # Errors
    /// What isn't known in it.
    pub fn read(text: &str) -> Result<Choice, String> {
        let mut choice = Choice::default();
        for field in text.split(';').map(str::trim).filter(|field| !field.is_empty()) {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| format!("invalid check option `{field}`"))?;
            let names = || value.split(',').map(|name| name.trim().to_owned()).collect();
            match key.trim().to_ascii_lowercase().as_str() {
                "skip" => choice.skip = names(),
                "experimental" => choice.experimental = names(),
                "error" => {
                    choice.error = crate::mount::boolean(value.trim())
                        .ok_or_else(|| format!("invalid check option `{field}`"))?;
                }
                _ => return Err(format!("invalid check option `{field}`")),
            }
        }
        Ok(choice)
    }

    fn wants(&self, rule: &str) -> bool {
        let named = |set: &BTreeSet<String>| {
            set.contains("all") || set.iter().any(|name| name.eq_ignore_ascii_case(rule))
        };
        !named(&self.skip) && (!EXPERIMENTAL.contains(&rule) || named(&self.experimental))
    }
}

/// Looks for what should be mended; the first line first.
pub fn check(text: &str, file: &Dockerfile, around: &Surroundings<'_>, choice: &Choice) -> Vec<Warning> {
    let mut found = Vec::new();
    if let Ok(nodes) = nodes(text, &file.directives) {
        style::check(text, &nodes, &mut found);
    }
    stages::check(file, around, &mut found);
    variables::check(file, around, &mut found);
    python::check(file, around, &mut found);
    found.retain(|warning| choice.wants(warning.rule));
    found.sort();
    found.dedup();
    found
}
