//! A whole Dockerfile: what stands before the first `FROM`, then stages.

use crate::directive::Directives;
use crate::fault::{Fault, Span};
use crate::instruction::{Instruction, Located};
use crate::lines::{Node, nodes};
use crate::reading::Reader;

/// A Dockerfile that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Its parser directives.
    pub directives: Directives,
    /// The arguments before the first stage.
    pub global_args: Vec<(String, Option<String>)>,
    /// The stages.
    pub stages: Vec<Stage>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it begins with: an image, a stage or `scratch`, not expanded.
    pub base: String,
    /// Its name in small letters.
    pub name: Option<String>,
    /// `--platform`, not expanded.
    pub platform: Option<String>,
    /// Where its `FROM` stands.
    pub span: Span,
    /// Its `FROM` as it is written.
    pub text: String,
    /// What follows.
    pub instructions: Vec<Located>,
}

impl Dockerfile {
    /// The stage that a name, or a number counted from 0, means; the last one of a name.
    pub fn stage(&self, name: &str) -> Option<usize> {
        let lower = name.to_lowercase();
        let by_name = self
            .stages
            .iter()
            .rposition(|stage| stage.name.as_deref() == Some(lower.as_str()));
        by_name.or_else(|| name.parse().ok().filter(|number| *number < self.stages.len()))
    }
}

/// Reads a Dockerfile.
///
/// # Errors
/// The first fault.
pub fn parse(text: &str) -> Result<Dockerfile, Fault> {
    let directives = Directives::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let nodes = nodes(text, &directives)?;
    if nodes.is_empty() {
        return Err(Fault::new(Span::new(1, 1), "file with no instructions")
            .help("a Dockerfile begins with FROM, such as FROM python:3.13-slim"));
    }
    let mut file = Dockerfile {
        global_args: Vec::new(),
        stages: Vec::new(),
        directives,
    };
    for node in &nodes {
        let reader = Reader {
            node,
            escape: file.directives.escape,
        };
        if reader.keyword() == "FROM" {
            let (platform, base, name) = reader.from()?;
            file.stages.push(Stage {
                base,
                name,
                platform,
                span: node.span,
                text: format!("FROM {}", node.rest),
                instructions: Vec::new(),
            });
            continue;
        }
        let located = reader.instruction()?;
        match (file.stages.last_mut(), located.instruction) {
            (None, Instruction::Arg(args)) => file.global_args.extend(args),
            (None, _) => {
                return Err(Fault::new(node.span, "no build stage in current context")
                    .at(node.keyword.clone())
                    .help("FROM comes first; only ARG may stand before it"));
            }
            (Some(stage), instruction) => stage.instructions.push(Located {
                instruction,
                ..located
            }),
        }
    }
    if file.stages.is_empty() {
        return Err(Fault::new(Span::new(1, 1), "no build stage in current context")
            .help("add FROM, such as FROM python:3.13-slim"));
    }
    Ok(file)
}

/// Reads an instruction that waited in an image (`ONBUILD`).
///
/// # Errors
/// When it is none.
pub fn parse_trigger(text: &str) -> Result<Located, Fault> {
    let nodes = nodes(text, &Directives::default())?;
    let none = || Fault::new(Span::new(1, 1), "an ONBUILD trigger holds no instruction");
    let node: &Node = nodes.first().ok_or_else(none)?;
    Reader { node, escape: '\\' }.instruction()
}
