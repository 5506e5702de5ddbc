//! What a template is made of.

use std::fmt;

use crate::numbers::Literal;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Action(Pipeline),
    If(Branch),
    Range(Branch),
    With(Branch),
    Part {
        at: usize,
        name: String,
        data: Option<Pipeline>,
    },
    Break,
    Continue,
}

/// A condition or a list, and what is done for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub(crate) pipeline: Pipeline,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// Commands, each given what the one before it made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pipeline {
    pub(crate) at: usize,
    /// Variables that take the result.
    pub(crate) variables: Vec<String>,
    /// Whether they are there already.
    pub(crate) assigns: bool,
    pub(crate) commands: Vec<Command>,
}

/// A function or value, and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Command {
    pub(crate) at: usize,
    pub(crate) words: Vec<Operand>,
}

/// A value in a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Operand {
    pub(crate) at: usize,
    pub(crate) kind: OperandKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OperandKind {
    Dot,
    Nil,
    Bool(bool),
    Number(String, Literal),
    /// With its quotes, and without.
    Text(String, String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    /// Fields of something in parentheses.
    Chain(Box<Operand>, Vec<String>),
    Function(String),
    Pipeline(Pipeline),
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            fmt::Display::fmt(command, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            fmt::Display::fmt(word, f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.kind {
            OperandKind::Dot => f.write_str("."),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Bool(value) => write!(f, "{value}"),
            OperandKind::Number(text, _) | OperandKind::Text(text, _) | OperandKind::Function(text) => {
                f.write_str(text)
            }
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Chain(inner, names) => {
                fmt::Display::fmt(inner, f)?;
                fields(f, names)
            }
            OperandKind::Pipeline(pipeline) => write!(f, "({pipeline})"),
        }
    }
}

impl Node {
    pub(crate) fn asks_for(&self, field: &str) -> bool {
        match self {
            Node::Text(_) | Node::Break | Node::Continue => false,
            Node::Action(pipeline) => pipeline.asks_for(field),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                let mut nodes = branch.body.iter().chain(&branch.otherwise);
                branch.pipeline.asks_for(field) || nodes.any(|node| node.asks_for(field))
            }
            Node::Part { data, .. } => data.as_ref().is_some_and(|pipeline| pipeline.asks_for(field)),
        }
    }
}

impl Pipeline {
    fn asks_for(&self, field: &str) -> bool {
        let mut words = self.commands.iter().flat_map(|command| &command.words);
        words.any(|word| word.asks_for(field))
    }
}

impl Operand {
    fn asks_for(&self, field: &str) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == field);
        match &self.kind {
            OperandKind::Dot => true,
            OperandKind::Field(names) => named(names),
            OperandKind::Variable(_, names) => names.is_empty() || named(names),
            OperandKind::Chain(inner, names) => named(names) || inner.asks_for(field),
            OperandKind::Pipeline(pipeline) => pipeline.asks_for(field),
            _ => false,
        }
    }
}
