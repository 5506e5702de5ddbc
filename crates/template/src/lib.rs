//! The template language of `--format`: Go's `text/template` with Docker's functions, over plain values.
//!
//! Pure: a template is text, what it is filled with is a [`Value`], and what comes out is text or an error whose words are
//! those that Docker's users know. See <https://pkg.go.dev/text/template>.

mod functions;
mod lexer;
mod node;
mod numbers;
mod operations;
mod parser;
mod printf;
mod render;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use node::Node;

pub use printf::quoted;
pub use value::{Object, Shapes, Value};

/// A template that was read and can be filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    name: String,
    text: String,
    body: Vec<Node>,
    parts: BTreeMap<String, Vec<Node>>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    name: String,
    line: usize,
    message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template: {}:{}: {}", self.name, self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    name: String,
    line: usize,
    column: usize,
    context: String,
    message: String,
}

impl fmt::Display for RenderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "template: {0}:{1}:{2}: executing \"{0}\" at <{3}>: {4}",
            self.name, self.line, self.column, self.context, self.message
        )
    }
}

impl std::error::Error for RenderError {}

/// What is done about what isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A key that a map doesn't have is `<no value>`.
    Lenient,
    /// A key that a map doesn't have is an error.
    Strict,
    /// The head of a table is made: functions give their argument as it is.
    Head,
}

impl Template {
    /// Reads a template; `name` is what errors call it, often nothing.
    ///
    /// # Errors
    /// When the text is no template.
    pub fn parse(name: &str, text: &str) -> Result<Template, ParseError> {
        parser::parse(name, text)
    }

    /// Fills the template.
    ///
    /// # Errors
    /// When it asks for what isn't there, or calls a function with what that can't take.
    pub fn render(&self, data: &Value, mode: Mode) -> Result<String, RenderError> {
        render::render(self, data, mode)
    }

    /// Whether a field of this name is asked for, or the whole object.
    pub fn asks_for(&self, field: &str) -> bool {
        self.body.iter().any(|node| node.asks_for(field))
            || self.parts.values().flatten().any(|node| node.asks_for(field))
    }
}
