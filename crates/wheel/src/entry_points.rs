//! entry_points.txt and the start scripts made from it (the "Entry points" specification).

use std::fmt;

/// A script that a distribution asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The file name in the environment's `bin`.
    pub name: String,
    /// The module to import.
    pub module: String,
    /// The object to call, with dots between its parts.
    pub object: String,
    /// Extras named in brackets. They do not decide whether the script is made, as the specification says.
    pub extras: Vec<String>,
}

/// An entry point that no script can be made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPointError {
    /// The line of entry_points.txt, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for EntryPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of entry_points.txt: {}", self.line, self.what)
    }
}

impl std::error::Error for EntryPointError {}

/// The console and GUI scripts of an entry_points.txt, in its order; a name that comes again replaces the earlier one.
pub fn scripts(text: &str) -> Result<Vec<Script>, EntryPointError> {
    let mut found: Vec<Script> = Vec::new();
    let mut wanted = false;
    for (index, line) in text.lines().enumerate() {
        let fail = |what| EntryPointError {
            line: index + 1,
            what,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            wanted = matches!(section.trim(), "console_scripts" | "gui_scripts");
            continue;
        }
        if !wanted {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| fail("it has no '='"))?;
        let script = script(name.trim(), value).map_err(fail)?;
        found.retain(|other| other.name != script.name);
        found.push(script);
    }
    Ok(found)
}

/// Reads one `name = module:object [extra]`.
pub fn script(name: &str, value: &str) -> Result<Script, &'static str> {
    let name_is_plain = !name.is_empty()
        && name.len() <= 255
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control);
    if !name_is_plain {
        return Err("its name cannot be a file's");
    }
    let value = value.trim();
    let (reference, extras) = match value.split_once('[') {
        Some((reference, extras)) => {
            let extras = extras
                .trim()
                .strip_suffix(']')
                .ok_or("its extras have no closing bracket")?;
            (
                reference,
                extras.split(',').map(|extra| extra.trim().to_owned()).collect(),
            )
        }
        None => (value, Vec::new()),
    };
    let (module, object) = reference.split_once(':').ok_or("it names no object to call")?;
    let (module, object) = (module.trim(), object.trim());
    if !is_dotted(module) || !is_dotted(object) {
        return Err("it is not of the form module:object");
    }
    Ok(Script {
        name: name.to_owned(),
        module: module.to_owned(),
        object: object.to_owned(),
        extras,
    })
}

/// Whether a text has the letters of dotted names.
///
/// Dashes are let through, as other installers do: a few packages have a script that fails when it is started.
fn is_dotted(text: &str) -> bool {
    let fine = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '.');
    !text.is_empty() && text.chars().all(fine)
}

/// The content of a start script for the interpreter at `python`.
pub fn body(script: &Script, python: &str) -> Vec<u8> {
    let first = script.object.split('.').next().unwrap_or(&script.object);
    let shebang = shebang(python);
    let (module, object) = (&script.module, &script.object);
    // The text that uv writes, so that the same wheel gives the same tree.
    format!(
        "{shebang}\n# -*- coding: utf-8 -*-\nimport sys\nfrom {module} import {first}\nif __name__ == \"__main__\":\n    \
         if sys.argv[0].endswith(\"-script.pyw\"):\n        sys.argv[0] = sys.argv[0][:-11]\n    \
         elif sys.argv[0].endswith(\".exe\"):\n        sys.argv[0] = sys.argv[0][:-4]\n    sys.exit({object}())\n"
    )
    .into_bytes()
}

/// The first line of a script, or lines where the kernel's limit of 127 bytes or a blank forbids the plain one.
pub fn shebang(python: &str) -> String {
    if python.len() + 3 <= 127 && !python.contains(' ') {
        return format!("#!{python}");
    }
    // Read by sh, the second line replaces it by Python; read by Python, the lines are one string.
    format!("#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_are_taken() {
        let text = "[console_scripts]\nrun = a.b:main\n# no\nx = c:D.e [extra1, extra2]\n\n[other]\ny = z\n\
                    [gui_scripts]\nwin=w:go\nrun = a.c:main\n";
        let found = scripts(text).expect("scripts");
        let names: Vec<_> = found
            .iter()
            .map(|s| format!("{}={}:{}", s.name, s.module, s.object))
            .collect();
        assert_eq!(names, ["x=c:D.e", "win=w:go", "run=a.c:main"]);
        assert_eq!(found[0].extras, ["extra1", "extra2"]);
        let body = String::from_utf8(body(&found[0], "/opt/venv/bin/python")).expect("text");
        assert!(
            body.starts_with(
                "#!/opt/venv/bin/python\n# -*- coding: utf-8 -*-\nimport sys\nfrom c import D\n"
            ),
            "{body}"
        );
        assert!(body.contains("sys.exit(D.e())"));
    }

    #[test]
    fn names_and_references_that_would_do_harm_are_refused() {
        for (name, value) in [
            ("../x", "a:b"),
            ("a/b", "a:b"),
            ("..", "a:b"),
            ("", "a:b"),
            ("a\\b", "a:b"),
            ("x", "a"),
            ("x", "a:b;import os"),
            ("x", "a b:c"),
            ("x", "a:b [e"),
            ("x", "a:"),
            ("x", "a:b # later"),
            ("x", "os\nimport x:b"),
        ] {
            assert!(script(name, value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn long_interpreter_paths_go_through_sh() {
        assert_eq!(shebang("/opt/venv/bin/python"), "#!/opt/venv/bin/python");
        let long = format!("/{}/python", "x".repeat(200));
        assert!(shebang(&long).starts_with("#!/bin/sh\n'''exec' \"/x"));
    }
}
