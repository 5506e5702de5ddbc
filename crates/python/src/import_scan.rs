//! Which modules a file imports when it is imported itself, by parsing.
//!
//! Only what happens for certain counts: imports at the top of a module or in a class. Imports in functions, under `if`, in a
//! `with`, or in a `try` that catches their failure may be meant for another machine, another version or nobody.

use ruff_python_ast::{ExceptHandler, Expr, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use serde::{Deserialize, Serialize};

use crate::diagnostic::line_of;

/// A module that a file imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Its full name, `google.cloud`.
    pub module: String,
    /// What is taken out of it, each of which may be a module too.
    pub names: Vec<String>,
    /// The line of the statement.
    pub line: usize,
}

/// The absolute imports of a file that happen whenever it is imported; none where it cannot be parsed at all.
pub fn imports(source: &str) -> Vec<Import> {
    let parsed = parse_unchecked(source, ParseOptions::from(Mode::Module));
    let mut found = Vec::new();
    if let ruff_python_ast::Mod::Module(module) = parsed.syntax() {
        statements(source, &module.body, &mut found);
    }
    found
}

fn statements(source: &str, body: &[Stmt], found: &mut Vec<Import>) {
    for statement in body {
        match statement {
            Stmt::Import(import) => {
                let line = line_of(source, usize::from(import.range.start()));
                found.extend(import.names.iter().map(|alias| Import {
                    module: alias.name.to_string(),
                    names: Vec::new(),
                    line,
                }));
            }
            Stmt::ImportFrom(import) if import.level == 0 => {
                let Some(module) = &import.module else { continue };
                found.push(Import {
                    module: module.to_string(),
                    names: import.names.iter().map(|alias| alias.name.to_string()).collect(),
                    line: line_of(source, usize::from(import.range.start())),
                });
            }
            Stmt::ClassDef(class) => statements(source, &class.body, found),
            Stmt::Try(attempt) if !attempt.handlers.iter().any(catches_imports) => {
                statements(source, &attempt.body, found);
                statements(source, &attempt.finalbody, found);
            }
            _ => {}
        }
    }
}

/// Whether a handler is there for imports that fail.
fn catches_imports(handler: &ExceptHandler) -> bool {
    let ExceptHandler::ExceptHandler(handler) = handler;
    let Some(kind) = &handler.type_ else {
        return true;
    };
    let named = |kind: &Expr| match kind {
        Expr::Name(name) => matches!(
            name.id.as_str(),
            "ImportError" | "ModuleNotFoundError" | "Exception" | "BaseException"
        ),
        // What can't be told is not judged.
        _ => true,
    };
    match kind.as_ref() {
        Expr::Tuple(kinds) => kinds.elts.iter().any(named),
        kind => named(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_for_certain() {
        let source = "import os, yaml.nodes as n\nfrom google.cloud import storage\nfrom . import own\nfrom .own import x\n\
                      try:\n    import orjson\nexcept ImportError:\n    import json\n\
                      try:\n    import late\nfinally:\n    pass\n\
                      try:\n    import sure\nexcept ValueError:\n    pass\n\
                      if TYPE_CHECKING:\n    import hints\ndef f():\n    import lazy\nclass A:\n    import inner\n\
                      with suppress(ImportError):\n    import maybe\nthis is no python\nimport after\n";
        let found: Vec<String> = imports(source)
            .into_iter()
            .map(|one| format!("{}:{}{:?}", one.line, one.module, one.names))
            .collect();
        assert_eq!(
            found,
            [
                "1:os[]",
                "1:yaml.nodes[]",
                "2:google.cloud[\"storage\"]",
                "10:late[]",
                "14:sure[]",
                "22:inner[]",
                "26:after[]"
            ]
        );
    }
}
