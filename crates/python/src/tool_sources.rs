//! Indices as other tools' projects name them: `[[tool.poetry.source]]`, `[[tool.pdm.source]]` and pipenv's `[[source]]`.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::toml_document::{Document, Item, Table};

/// An index of a project of another tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolSource {
    /// Its name.
    pub name: String,
    /// Its address, with the values of variables in it.
    pub url: String,
    /// Whether it stands in for PyPI.
    pub default: bool,
    /// Whether only packages that name it come from it.
    pub explicit: bool,
    /// Whether it is one page or folder of files.
    pub flat: bool,
}

/// The indices of `[tool.poetry]` and `[tool.pdm]` in a pyproject.toml.
///
/// A package of poetry.lock names its index, so those are asked by name alone. pdm's locks name none: its sources are all asked,
/// and the one called `pypi` stands in for PyPI, as pdm has it.
pub fn pyproject_sources(
    file: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<ToolSource>, Diagnostic> {
    let document = Document { file, text };
    let parsed = document.parse()?;
    let root = Table {
        document,
        path: String::new(),
        table: parsed.get_ref(),
    };
    let Some(tools) = root.table("tool")? else {
        return Ok(Vec::new());
    };
    let mut sources = Vec::new();
    for tool in ["poetry", "pdm"] {
        // Older projects keep other things under these keys; only an array of tables is meant.
        let Some(list) = tools.table(tool)?.and_then(|table| table.get("source")) else {
            continue;
        };
        for item in list.items().unwrap_or_default() {
            let Some(mut source) = read(&item, variables)? else {
                continue;
            };
            source.explicit = tool == "poetry";
            source.default = tool == "pdm" && source.name == "pypi";
            sources.push(source);
        }
    }
    Ok(sources)
}

/// The indices of a Pipfile; the first stands in for PyPI, and the others are for packages that name them.
pub fn pipfile_sources(
    file: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Vec<ToolSource>, Diagnostic> {
    let document = Document { file, text };
    let parsed = document.parse()?;
    let root = Table {
        document,
        path: String::new(),
        table: parsed.get_ref(),
    };
    let mut sources = Vec::new();
    for item in root
        .get("source")
        .map_or_else(|| Ok(Vec::new()), |list| list.items())?
    {
        let Some(mut source) = read(&item, variables)? else {
            continue;
        };
        source.default = sources.is_empty();
        source.explicit = !source.default;
        sources.push(source);
    }
    Ok(sources)
}

fn read(item: &Item<'_, '_>, variables: &BTreeMap<String, String>) -> Result<Option<ToolSource>, Diagnostic> {
    let table = item.table()?;
    let (Some(name), Some(url)) = (table.string("name")?, table.string("url")?) else {
        // Poetry's own name for PyPI needs no address.
        return Ok(None);
    };
    Ok(Some(ToolSource {
        name,
        url: expand(&url, variables),
        default: false,
        explicit: false,
        flat: table.string("type")?.as_deref() == Some("find_links"),
    }))
}

/// Puts in `${NAME}` and `$NAME`; what isn't set stays as it is written.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let braced = after
            .strip_prefix('{')
            .and_then(|body| Some((body.split_once('}')?.0, 2)));
        let plain = || {
            let is_part = |c: char| c == '_' || c.is_ascii_alphanumeric();
            let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
            (&after[..end], 0)
        };
        let (name, more) = braced.unwrap_or_else(plain);
        let length = 1 + name.len() + more;
        match variables.get(name) {
            Some(value) => out.push_str(value),
            None => out.push_str(&rest[at..at + length]),
        }
        rest = &rest[at + length..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        BTreeMap::from([("TOKEN".to_owned(), "s3cret".to_owned())])
    }

    #[test]
    fn poetry_pdm_and_pipenv() {
        let text = "[[tool.poetry.source]]\nname = \"corp\"\nurl = \"https://corp.example/simple\"\npriority = \"explicit\"\n\
                    [[tool.poetry.source]]\nname = \"PyPI\"\n\
                    [[tool.pdm.source]]\nname = \"pypi\"\nurl = \"https://me:${TOKEN}@mirror.example/simple\"\n\
                    [[tool.pdm.source]]\nname = \"flat\"\nurl = \"https://flat.example/\"\ntype = \"find_links\"\n";
        let found = pyproject_sources("pyproject.toml", text, &variables()).expect("valid");
        let told: Vec<_> = found
            .iter()
            .map(|source| {
                (
                    source.name.as_str(),
                    source.url.as_str(),
                    source.default,
                    source.explicit,
                    source.flat,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("corp", "https://corp.example/simple", false, true, false),
                (
                    "pypi",
                    "https://me:s3cret@mirror.example/simple",
                    true,
                    false,
                    false
                ),
                ("flat", "https://flat.example/", false, false, true),
            ]
        );
        let text = "[[source]]\nname = \"a\"\nurl = \"https://$USER:$TOKEN@a.example\"\n[[source]]\nname = \"b\"\nurl = \"https://b.example/$\"\n";
        let found = pipfile_sources("Pipfile", text, &variables()).expect("valid");
        assert_eq!(found[0].url, "https://$USER:s3cret@a.example");
        assert!(found[0].default && found[1].explicit && found[1].url.ends_with("/$"));
    }
}
