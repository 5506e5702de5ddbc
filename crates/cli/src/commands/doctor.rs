//! `coil doctor`: what this machine can and can't do for containers, and what to do about it.

use clap::Args;
use coil_engine::doctor::{Answer, Fact};
use serde_json::{Value, json};

use crate::output;
use crate::report::Failure;
use crate::settings::Settings;
use crate::template::Format;

/// Arguments of `coil doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Doctor {
    /// Shows every fact; what is missing is no failure of the doctor's.
    pub fn run(self, settings: &Settings) -> Result<i32, Failure> {
        let format = Format::parse(self.format.as_deref())?;
        let environment = settings.environment();
        let scratch = environment
            .path("TMPDIR")
            .filter(|path| path.is_dir())
            .unwrap_or_else(|| "/tmp".into());
        let user = environment.first(&["USER", "LOGNAME"]);
        let facts = settings
            .engine()?
            .doctor(environment.search_path(), user, scratch);
        if format == Format::Json {
            output::json(&facts.iter().map(object).collect::<Vec<_>>());
            return Ok(0);
        }
        let width = facts
            .iter()
            .map(|fact| fact.name.chars().count())
            .max()
            .unwrap_or(0);
        for fact in &facts {
            output::line(&format!(
                "{:<7} {:<width$}  {}",
                word(fact.ok),
                fact.name,
                fact.detail
            ));
            let more = [("        ", &fact.consequence), ("        help: ", &fact.remedy)];
            for (begin, text) in more.iter().filter(|(_, text)| !text.is_empty()) {
                output::line(&format!("{begin}{text}"));
            }
        }
        let missing = facts.iter().filter(|fact| fact.ok == Answer::No).count();
        output::line("");
        output::line(
            "coil pack needs no namespaces, cgroups or mounts: a place to write to and the package index are enough.",
        );
        output::line(&match missing {
            0 => "coil run has all that it needs.".to_owned(),
            1 => "coil run lacks one thing, as told above.".to_owned(),
            count => format!("coil run lacks {count} things, as told above."),
        });
        Ok(0)
    }
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::Partly => "partly",
        Answer::No => "no",
    }
}

fn object(fact: &Fact) -> Value {
    json!({
        "name": fact.name,
        "ok": word(fact.ok),
        "detail": fact.detail,
        "consequence": fact.consequence,
        "remedy": fact.remedy,
    })
}
