//! What a build says of its Dockerfile without building it: what should be mended, its stages, its arguments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use coil_build::dockerfile::{Checked, Outline, OutlineStage, Warning};
use serde_json::{Value, json};

use crate::build_context::Context;
use crate::output;
use crate::report::Failure;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// To build.
    Build,
    /// What should be mended.
    Check,
    /// Stages that may be built.
    Targets,
    /// Arguments, secrets and agents.
    Outline,
}

/// Reads `--call`: a method, and `format=json`.
///
/// # Errors
/// When it is none.
pub fn method(text: &str) -> Result<(Method, bool), Failure> {
    let bad = || {
        Failure::new(format!("invalid call `{text}`"))
            .help("give --call check, outline, targets or build, or such as check,format=json")
            .code(125)
    };
    let mut fields = text.split(',');
    let method = match fields.next().unwrap_or_default() {
        "build" => Method::Build,
        "check" | "lint" => Method::Check,
        "targets" => Method::Targets,
        "outline" => Method::Outline,
        _ => return Err(bad()),
    };
    let mut is_json = false;
    for field in fields {
        match field {
            "format=json" => is_json = true,
            "format=default" => is_json = false,
            _ => return Err(bad()),
        }
    }
    Ok((method, is_json))
}

fn line(warning: &Warning) -> String {
    format!("{}: {} (line {})", warning.rule, warning.message, warning.line)
}

/// Prints what should be mended; gives the exit code.
pub fn print_check(checked: &Checked, context: &Context, is_json: bool) -> i32 {
    let warnings = &checked.warnings;
    if is_json {
        let list: Vec<Value> = warnings.iter().map(|warning| as_json(warning, context)).collect();
        output::json(&json!({ "warnings": list }));
    } else {
        output::line(&match warnings.len() {
            0 => "Check complete, no warnings found.".to_owned(),
            1 => "Check complete, 1 warning has been found!".to_owned(),
            count => format!("Check complete, {count} warnings have been found!"),
        });
        for warning in warnings {
            let fault = warning.excerpt(&context.text, &context.name);
            output::line(&format!(
                "\nwarning: {}: {}\n{fault}\nhelp: {}",
                warning.rule, warning.message, warning.help
            ));
        }
    }
    i32::from(!warnings.is_empty())
}

/// Tells at the end of a build what should be mended.
pub fn tell(checked: &Checked) {
    let warnings: Vec<&Warning> = checked.of_builds().collect();
    let count = match warnings.len() {
        0 => return,
        1 => "1 warning was found".to_owned(),
        count => format!("{count} warnings were found"),
    };
    output::error_line(&format!(
        "{count}; `coil build --check` says what to write instead:"
    ));
    for warning in warnings {
        output::error_line(&format!(" - {}", line(warning)));
    }
}

/// What is told where a Dockerfile wants no warnings.
pub fn failure(checked: &Checked, context: &Context) -> Failure {
    let mut text = "error: the Dockerfile is to have no warnings (check=error=true)".to_owned();
    for warning in checked.of_builds() {
        let excerpt = warning.excerpt(&context.text, &context.name);
        text.push_str(&format!("\n{}: {}\n{excerpt}", warning.rule, warning.message));
    }
    Failure::spoken(text, 1)
        .help("mend them as `coil build --check` says, or leave some out: # check=skip=RULE;error=true")
}

fn as_json(warning: &Warning, context: &Context) -> Value {
    json!({
        "ruleName": warning.rule,
        "description": warning.message,
        "detail": warning.help,
        "location": {
            "file": context.name,
            "ranges": [{"start": {"line": warning.line}, "end": {"line": warning.end_line}}],
        },
    })
}

/// Prints stages that may be built, or what a stage takes.
pub fn print_outline(outline: &Outline, method: Method, is_json: bool) {
    if is_json {
        let stages: Vec<Value> = outline.stages.iter().map(stage_json).collect();
        let args: Vec<Value> = outline
            .args
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        output::json(&match method {
            Method::Targets => json!({"targets": stages}),
            _ => json!({
                "name": outline.target,
                "args": args,
                "secrets": outline.secrets,
                "ssh": outline.agents,
            }),
        });
        return;
    }
    let mut rows: BTreeMap<usize, (String, String)> = BTreeMap::new();
    let heads = match method {
        Method::Targets => {
            for (at, stage) in outline.stages.iter().enumerate() {
                let mark = if stage.is_default { " (default)" } else { "" };
                let name = stage.name.clone().unwrap_or_else(|| at.to_string());
                rows.insert(at, (format!("{name}{mark}"), stage.base.clone()));
            }
            ("TARGET", "BASE")
        }
        _ => {
            for (at, (name, value)) in outline.args.iter().enumerate() {
                rows.insert(at, (name.clone(), value.clone().unwrap_or_default()));
            }
            ("BUILD ARG", "VALUE")
        }
    };
    let width = rows
        .values()
        .map(|(left, _)| left.chars().count())
        .max()
        .unwrap_or(0)
        .max(heads.0.len());
    let mut text = format!("{:width$}   {}", heads.0, heads.1);
    for (left, right) in rows.values() {
        let _ = write!(text, "\n{}", format!("{left:width$}   {right}").trim_end());
    }
    for (head, names) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        if method == Method::Outline && !names.is_empty() {
            let _ = write!(text, "\n\n{head}\n{}", names.join("\n"));
        }
    }
    output::line(&text);
}

fn stage_json(stage: &OutlineStage) -> Value {
    json!({"name": stage.name, "base": stage.base, "default": stage.is_default})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read() {
        assert_eq!(method("check").unwrap(), (Method::Check, false));
        assert_eq!(method("targets,format=json").unwrap(), (Method::Targets, true));
        assert!(method("subrequests").is_err() && method("check,x=y").is_err());
    }
}
