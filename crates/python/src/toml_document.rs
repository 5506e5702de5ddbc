//! TOML tables that know where they stand, so that each complaint has a line and a caret.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Problem, near_miss};

/// A file being read.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl<'a> Document<'a> {
    /// Parses the file; the error has the line and a caret.
    pub fn parse(self) -> Result<Spanned<DeTable<'a>>, Diagnostic> {
        DeTable::parse(self.text).map_err(|error| self.syntax(&error))
    }

    /// Turns an error of the TOML parser, or of a type read from it, into a diagnostic.
    pub fn syntax(self, error: &toml::de::Error) -> Diagnostic {
        let diagnostic = Diagnostic::new(Problem::Syntax, format!("cannot parse {}", self.file));
        let message = error.message().replace('\n', ", ");
        match error.span() {
            Some(span) => diagnostic.at(self.file, self.text, span).label(message),
            None => diagnostic.in_file(self.file).label(message),
        }
    }

    /// A complaint about a byte range.
    pub fn error(self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Problem::Syntax, message).at(self.file, self.text, span)
    }
}

/// A value with its place and the path of keys that leads to it.
#[derive(Clone)]
pub(crate) struct Item<'a, 'd> {
    pub document: Document<'a>,
    pub path: String,
    pub value: &'d Spanned<DeValue<'a>>,
}

/// A table with the path of keys that leads to it.
#[derive(Clone)]
pub(crate) struct Table<'a, 'd> {
    pub document: Document<'a>,
    pub path: String,
    pub table: &'d DeTable<'a>,
}

impl<'a, 'd> Table<'a, 'd> {
    pub fn get(&self, key: &str) -> Option<Item<'a, 'd>> {
        let value = self.table.get(key)?;
        let path = if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        };
        Some(Item {
            document: self.document,
            path,
            value,
        })
    }

    pub fn string(&self, key: &str) -> Result<Option<String>, Diagnostic> {
        self.get(key).map(|item| item.string()).transpose()
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Diagnostic> {
        self.get(key).map(|item| item.boolean()).transpose()
    }

    pub fn strings(&self, key: &str) -> Result<Vec<String>, Diagnostic> {
        self.get(key)
            .map(|item| item.strings())
            .transpose()
            .map(Option::unwrap_or_default)
    }

    pub fn table(&self, key: &str) -> Result<Option<Table<'a, 'd>>, Diagnostic> {
        self.get(key).map(|item| item.table()).transpose()
    }

    /// All entries, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&'d str, Range<usize>, Item<'a, 'd>)> + '_ {
        self.table.iter().map(move |(key, value)| {
            let name: &'d str = key.get_ref();
            let path = if self.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}.{name}", self.path)
            };
            (
                name,
                key.span(),
                Item {
                    document: self.document,
                    path,
                    value,
                },
            )
        })
    }

    /// All entries as strings.
    pub fn string_map(&self) -> Result<BTreeMap<String, String>, Diagnostic> {
        self.entries()
            .map(|(key, _, item)| Ok((key.to_owned(), item.string()?)))
            .collect()
    }

    /// Refuses a key that isn't known, and suggests the near one.
    pub fn only(&self, known: &[&str]) -> Result<(), Diagnostic> {
        for (key, span, _) in self.entries() {
            if known.contains(&key) {
                continue;
            }
            let error = self
                .document
                .error(span, format!("unknown key `{key}` in [{}]", self.path));
            return Err(match near_miss(key, known.iter().copied()) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("the keys are {}", known.join(", "))),
            });
        }
        Ok(())
    }
}

impl<'a, 'd> Item<'a, 'd> {
    pub fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// A complaint about this value.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.document.error(self.span(), message)
    }

    fn expected(&self, what: &str) -> Diagnostic {
        self.error(format!("`{}` must be {what}", self.path))
            .label(format!("this is {}", article(self.value.get_ref().type_str())))
    }

    pub fn as_str(&self) -> Option<&'d str> {
        self.value.get_ref().as_str()
    }

    pub fn string(&self) -> Result<String, Diagnostic> {
        self.as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.expected("a string"))
    }

    pub fn boolean(&self) -> Result<bool, Diagnostic> {
        self.value
            .get_ref()
            .as_bool()
            .ok_or_else(|| self.expected("true or false"))
    }

    /// A number from 1 to 65535.
    pub fn port(&self) -> Result<u16, Diagnostic> {
        let number = match self.value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse::<u16>().ok(),
            DeValue::String(text) => text.parse::<u16>().ok(),
            _ => None,
        };
        number
            .filter(|port| *port > 0)
            .ok_or_else(|| self.expected("a port from 1 to 65535"))
    }

    pub fn table(&self) -> Result<Table<'a, 'd>, Diagnostic> {
        match self.value.get_ref().as_table() {
            Some(table) => Ok(Table {
                document: self.document,
                path: self.path.clone(),
                table,
            }),
            None => Err(self.expected("a table")),
        }
    }

    pub fn items(&self) -> Result<Vec<Item<'a, 'd>>, Diagnostic> {
        match self.value.get_ref().as_array() {
            Some(array) => Ok(array
                .iter()
                .map(|value| Item {
                    document: self.document,
                    path: self.path.clone(),
                    value,
                })
                .collect()),
            None => Err(self.expected("an array")),
        }
    }

    pub fn strings(&self) -> Result<Vec<String>, Diagnostic> {
        self.items()?.iter().map(Item::string).collect()
    }

    /// A string, or several.
    pub fn one_or_more(&self) -> Result<Vec<String>, Diagnostic> {
        match self.as_str() {
            Some(text) => Ok(vec![text.to_owned()]),
            None => self.strings(),
        }
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}
