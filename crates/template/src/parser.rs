//! Tokens into the parts of a template.

use std::collections::BTreeMap;

use crate::functions;
use crate::lexer::{Kind, Token, is_keyword, tokens};
use crate::node::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use crate::numbers::{self, Literal};
use crate::{ParseError, Template};

/// Deeper nesting than this is a mistake.
const DEEPEST: usize = 100;

struct Parser<'a> {
    name: &'a str,
    text: &'a str,
    tokens: Vec<Token>,
    next: usize,
    variables: Vec<String>,
    loops: usize,
    depth: usize,
    parts: BTreeMap<String, Vec<Node>>,
}

/// How a list of nodes ended.
#[derive(Debug, Clone, PartialEq)]
enum Ending {
    End,
    Else,
    Text,
}

pub(crate) fn parse(name: &str, text: &str) -> Result<Template, ParseError> {
    let mut parser = Parser {
        name,
        text,
        tokens: tokens(text),
        next: 0,
        variables: vec!["$".to_owned()],
        loops: 0,
        depth: 0,
        parts: BTreeMap::new(),
    };
    let (body, ending) = parser.nodes(true)?;
    match ending {
        Ending::Text => {}
        Ending::End => return Err(parser.error("unexpected {{end}}")),
        Ending::Else => return Err(parser.error("unexpected {{else}}")),
    }
    Ok(Template {
        name: name.to_owned(),
        text: text.to_owned(),
        body,
        parts: parser.parts,
    })
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last token is the end or a fault, and nothing goes past it.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        let at = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].at;
        ParseError {
            name: self.name.to_owned(),
            line: 1 + self.text[..at.min(self.text.len())].matches('\n').count(),
            message: message.into(),
        }
    }

    fn unexpected(&self, token: &Token, context: &str) -> ParseError {
        match &token.kind {
            Kind::Fault(message) => self.error(message.clone()),
            Kind::End => self.error("unexpected EOF"),
            kind => self.error(format!("unexpected {} in {context}", kind.shown())),
        }
    }

    fn deeper(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error("max expression depth exceeded"));
        }
        Ok(())
    }

    /// Nodes up to `{{end}}`, `{{else}}` or the text's end.
    fn nodes(&mut self, top: bool) -> Result<(Vec<Node>, Ending), ParseError> {
        self.deeper()?;
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                Kind::Open => {
                    let word = match &self.peek().kind {
                        Kind::Word(word) if is_keyword(word) && word != "nil" => word.clone(),
                        _ => String::new(),
                    };
                    if !word.is_empty() {
                        self.next += 1;
                    }
                    match word.as_str() {
                        "end" => {
                            self.close("end")?;
                            self.depth -= 1;
                            return Ok((nodes, Ending::End));
                        }
                        "else" => {
                            self.depth -= 1;
                            return Ok((nodes, Ending::Else));
                        }
                        "define" if top => self.define()?,
                        _ => nodes.push(self.action(&word, token.at)?),
                    }
                }
                Kind::End if top => {
                    self.depth -= 1;
                    return Ok((nodes, Ending::Text));
                }
                _ => return Err(self.unexpected(&token, "input")),
            }
        }
    }

    fn close(&mut self, context: &str) -> Result<(), ParseError> {
        let token = self.take();
        if token.kind == Kind::Close {
            Ok(())
        } else {
            Err(self.unexpected(&token, context))
        }
    }

    fn action(&mut self, word: &str, at: usize) -> Result<Node, ParseError> {
        match word {
            "if" => Ok(Node::If(self.branch("if")?)),
            "with" => Ok(Node::With(self.branch("with")?)),
            "range" => Ok(Node::Range(self.branch("range")?)),
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                }
                self.close(word)?;
                Ok(if word == "break" {
                    Node::Break
                } else {
                    Node::Continue
                })
            }
            "template" | "block" => {
                let name = self.name_of(&format!("{word} clause"))?;
                let data = if word == "template" && self.peek().kind == Kind::Close {
                    self.next += 1;
                    None
                } else {
                    Some(self.pipeline(&format!("{word} clause"), &Kind::Close)?)
                };
                if word == "block" {
                    let before = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
                    let body = self.body("block")?;
                    self.variables = before;
                    self.parts.insert(name.clone(), body);
                }
                Ok(Node::Part { at, name, data })
            }
            "" => Ok(Node::Action(self.pipeline("command", &Kind::Close)?)),
            other => Err(self.error(format!("unexpected <{other}> in command"))),
        }
    }

    fn name_of(&mut self, context: &str) -> Result<String, ParseError> {
        let token = self.take();
        match &token.kind {
            Kind::Quoted(text) | Kind::Raw(text) => self.unquote(text),
            _ => Err(self.unexpected(&token, context)),
        }
    }

    fn define(&mut self) -> Result<(), ParseError> {
        let name = self.name_of("define clause")?;
        self.close("define clause")?;
        let before = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let body = self.body("define")?;
        self.variables = before;
        self.parts.insert(name, body);
        Ok(())
    }

    fn body(&mut self, context: &str) -> Result<Vec<Node>, ParseError> {
        match self.nodes(false)? {
            (body, Ending::End) => Ok(body),
            _ => Err(self.error(format!("unexpected {{{{else}}}} in {context} clause"))),
        }
    }

    fn branch(&mut self, context: &str) -> Result<Branch, ParseError> {
        let known = self.variables.len();
        let pipeline = self.pipeline(context, &Kind::Close)?;
        let is_loop = usize::from(context == "range");
        self.loops += is_loop;
        let (body, ending) = self.nodes(false)?;
        self.loops -= is_loop;
        let otherwise = match ending {
            Ending::End | Ending::Text => Vec::new(),
            Ending::Else => {
                let chained = match &self.peek().kind {
                    Kind::Word(word) if (word == "if" || word == "with") && word == context => word.clone(),
                    _ => String::new(),
                };
                if chained.is_empty() {
                    self.close("else")?;
                    match self.nodes(false)? {
                        (nodes, Ending::End) => nodes,
                        _ => return Err(self.error("expected end; found {{else}}")),
                    }
                } else {
                    self.next += 1;
                    self.deeper()?;
                    let inner = self.branch(&chained)?;
                    self.depth -= 1;
                    vec![if chained == "if" {
                        Node::If(inner)
                    } else {
                        Node::With(inner)
                    }]
                }
            }
        };
        self.variables.truncate(known);
        Ok(Branch {
            pipeline,
            body,
            otherwise,
        })
    }

    fn pipeline(&mut self, context: &str, end: &Kind) -> Result<Pipeline, ParseError> {
        self.deeper()?;
        let mut pipeline = Pipeline {
            at: self.peek().at,
            variables: Vec::new(),
            assigns: false,
            commands: Vec::new(),
        };
        self.variables_of(&mut pipeline, context)?;
        loop {
            let token = self.peek().clone();
            if token.kind == *end {
                self.next += 1;
                self.check(&pipeline, context)?;
                self.depth -= 1;
                return Ok(pipeline);
            }
            match &token.kind {
                Kind::Other(_)
                | Kind::Pipe
                | Kind::Comma
                | Kind::Assign
                | Kind::Declare
                | Kind::Close
                | Kind::RightParen
                | Kind::Fault(_)
                | Kind::End => {
                    self.next += 1;
                    return Err(self.unexpected(&token, context));
                }
                _ => {
                    let command = self.command()?;
                    pipeline.commands.push(command);
                }
            }
        }
    }

    /// `$x :=`, `$x =`, and for loops `$key, $value :=`.
    fn variables_of(&mut self, pipeline: &mut Pipeline, context: &str) -> Result<(), ParseError> {
        let kind_at = |at: usize| self.tokens.get(self.next + at).map(|token| &token.kind);
        let (Some(Kind::Variable(first)), Some(behind)) = (kind_at(0), kind_at(1)) else {
            return Ok(());
        };
        let mut names = vec![first.clone()];
        let mut sign = (1, behind.clone());
        if *behind == Kind::Comma
            && context == "range"
            && let (Some(Kind::Variable(second)), Some(behind)) = (kind_at(2), kind_at(3))
        {
            names.push(second.clone());
            sign = (3, behind.clone());
        }
        match sign.1 {
            Kind::Declare => {}
            Kind::Assign => {
                pipeline.assigns = true;
                for name in &names {
                    self.known(name)?;
                }
            }
            _ => return Ok(()),
        }
        self.next += sign.0 + 1;
        if !pipeline.assigns {
            self.variables.extend(names.iter().cloned());
        }
        pipeline.variables = names;
        Ok(())
    }

    fn known(&self, name: &str) -> Result<(), ParseError> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(self.error(format!("undefined variable {name:?}")))
    }

    fn check(&self, pipeline: &Pipeline, context: &str) -> Result<(), ParseError> {
        if pipeline.commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        for (at, command) in pipeline.commands.iter().enumerate().skip(1) {
            let first = command.words.first().map(|word| &word.kind);
            if let Some(
                OperandKind::Bool(_)
                | OperandKind::Dot
                | OperandKind::Nil
                | OperandKind::Number(..)
                | OperandKind::Text(..),
            ) = first
            {
                return Err(self.error(format!("non executable command in pipeline stage {}", at + 1)));
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, ParseError> {
        let mut command = Command {
            at: self.peek().at,
            words: Vec::new(),
        };
        loop {
            if let Some(operand) = self.operand()? {
                command.words.push(operand);
            }
            let token = self.peek().clone();
            match &token.kind {
                Kind::Close | Kind::RightParen => break,
                Kind::Pipe => {
                    self.next += 1;
                    if matches!(self.peek().kind, Kind::Close | Kind::RightParen) {
                        return Err(self.error("missing value for command"));
                    }
                    break;
                }
                _ if token.spaced && !matches!(token.kind, Kind::Fault(_) | Kind::End) => {
                    if !starts_operand(&token.kind) {
                        self.next += 1;
                        return Err(self.unexpected(&token, "operand"));
                    }
                }
                // `f (x)(y)` is as good as with blanks.
                Kind::LeftParen => {}
                _ => {
                    self.next += 1;
                    return Err(self.unexpected(&token, "operand"));
                }
            }
        }
        if command.words.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(command)
    }

    /// A value and the fields asked of it; none where no value begins.
    fn operand(&mut self) -> Result<Option<Operand>, ParseError> {
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        let at = self.peek().at;
        let mut names = Vec::new();
        while let (Kind::Field(name), false) = (&self.peek().kind, self.peek().spaced) {
            names.push(name.clone());
            self.next += 1;
        }
        if names.is_empty() {
            return Ok(Some(term));
        }
        let kind = match term.kind {
            OperandKind::Field(first) => OperandKind::Field(first.into_iter().chain(names).collect()),
            OperandKind::Variable(name, _) => OperandKind::Variable(name, names),
            OperandKind::Dot
            | OperandKind::Nil
            | OperandKind::Bool(_)
            | OperandKind::Number(..)
            | OperandKind::Text(..) => {
                return Err(self.error(format!("unexpected . after term {:?}", term.to_string())));
            }
            _ => OperandKind::Chain(Box::new(term), names),
        };
        Ok(Some(Operand { at, kind }))
    }

    fn term(&mut self) -> Result<Option<Operand>, ParseError> {
        let token = self.peek().clone();
        self.next += 1;
        let kind = match &token.kind {
            Kind::Word(word) => match word.as_str() {
                "true" => OperandKind::Bool(true),
                "false" => OperandKind::Bool(false),
                "nil" => OperandKind::Nil,
                word if is_keyword(word) => return Err(self.unexpected(&token, "command")),
                word if functions::is_known(word) => OperandKind::Function(word.to_owned()),
                word => return Err(self.error(format!("function {word:?} not defined"))),
            },
            Kind::Dot => OperandKind::Dot,
            Kind::Variable(name) => {
                self.known(name)?;
                OperandKind::Variable(name.clone(), Vec::new())
            }
            Kind::Field(name) => OperandKind::Field(vec![name.clone()]),
            Kind::Number(text) => {
                let number = numbers::parse(text).unwrap_or(Literal::Int(0));
                OperandKind::Number(text.clone(), number)
            }
            Kind::Character(text) => {
                let inner = self.unquote(text)?;
                let mut characters = inner.chars();
                let (Some(character), None) = (characters.next(), characters.next()) else {
                    return Err(self.error(format!("malformed character constant: {text}")));
                };
                OperandKind::Number(text.clone(), Literal::Int(u32::from(character).into()))
            }
            Kind::Quoted(text) | Kind::Raw(text) => {
                let plain = self.unquote(text)?;
                OperandKind::Text(text.clone(), plain)
            }
            Kind::LeftParen => {
                OperandKind::Pipeline(self.pipeline("parenthesized pipeline", &Kind::RightParen)?)
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: token.at, kind }))
    }

    fn unquote(&self, text: &str) -> Result<String, ParseError> {
        unquote(text).ok_or_else(|| self.error("invalid syntax"))
    }
}

fn starts_operand(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Word(_)
            | Kind::Field(_)
            | Kind::Dot
            | Kind::Variable(_)
            | Kind::Quoted(_)
            | Kind::Raw(_)
            | Kind::Character(_)
            | Kind::Number(_)
            | Kind::LeftParen
    )
}

/// A text without its quotes; none when an escape is wrong.
fn unquote(text: &str) -> Option<String> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if text.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut rest = inner;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        let mut push = |character: char| bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
        if character != '\\' {
            push(character);
            continue;
        }
        let letter = rest.chars().next()?;
        rest = &rest[letter.len_utf8()..];
        let mut digits = |count: usize, radix: u32| -> Option<u32> {
            let number = u32::from_str_radix(rest.get(..count)?, radix).ok()?;
            rest = &rest[count..];
            Some(number)
        };
        match letter {
            'a' => push('\x07'),
            'b' => push('\x08'),
            'f' => push('\x0c'),
            'n' => push('\n'),
            'r' => push('\r'),
            't' => push('\t'),
            'v' => push('\x0b'),
            '\\' | '\'' | '"' => push(letter),
            'x' => bytes.push(u8::try_from(digits(2, 16)?).ok()?),
            'u' => push(char::from_u32(digits(4, 16)?)?),
            'U' => push(char::from_u32(digits(8, 16)?)?),
            '0'..='7' => {
                let high = letter.to_digit(8)? * 64;
                bytes.push(u8::try_from(high + digits(2, 8)?).ok()?);
            }
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
