//! Filling a template.

use crate::functions;
use crate::node::{Branch, Command, Node, Operand, OperandKind, Pipeline};
use crate::numbers::Literal;
use crate::{Mode, RenderError, Template, Value};

/// Templates that call each other deeper than this never end.
const DEEPEST: usize = 200;

struct Renderer<'a> {
    template: &'a Template,
    mode: Mode,
    variables: Vec<(String, Value)>,
    out: String,
    depth: usize,
}

/// What goes on after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

pub(crate) fn render(template: &Template, data: &Value, mode: Mode) -> Result<String, RenderError> {
    let mut renderer = Renderer {
        template,
        mode,
        variables: vec![("$".to_owned(), data.clone())],
        out: String::new(),
        depth: 0,
    };
    renderer.nodes(&template.body, data)?;
    Ok(renderer.out)
}

type Outcome<T> = Result<T, RenderError>;

impl Renderer<'_> {
    fn error(&self, at: usize, context: impl ToString, message: impl Into<String>) -> RenderError {
        let before = &self.template.text[..at.min(self.template.text.len())];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        RenderError {
            name: self.template.name.clone(),
            line: 1 + before.matches('\n').count(),
            column: at - line_start,
            context: context.to_string(),
            message: message.into(),
        }
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Outcome<Flow> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Outcome<Flow> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&value.shown());
                }
            }
            Node::If(branch) => return self.choice(branch, dot, false),
            Node::With(branch) => return self.choice(branch, dot, true),
            Node::Range(branch) => return self.range(branch, dot),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Part { at, name, data } => {
                let template = self.template;
                let Some(part) = template.parts.get(name) else {
                    let context = format!("{{{{template {name:?}}}}}");
                    return Err(self.error(at + 11, context, format!("template {name:?} not defined")));
                };
                let data = match data {
                    Some(pipeline) => self.pipeline(pipeline, dot)?,
                    None => Value::Missing,
                };
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(self.error(*at, name, "exceeded maximum template depth"));
                }
                let before = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
                self.nodes(part, &data)?;
                self.variables = before;
                self.depth -= 1;
            }
        }
        Ok(Flow::On)
    }

    fn choice(&mut self, branch: &Branch, dot: &Value, with: bool) -> Outcome<Flow> {
        let known = self.variables.len();
        let value = self.pipeline(&branch.pipeline, dot)?;
        let flow = if !value.is_true() {
            self.nodes(&branch.otherwise, dot)
        } else if with {
            self.nodes(&branch.body, &value)
        } else {
            self.nodes(&branch.body, dot)
        };
        self.variables.truncate(known);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Outcome<Flow> {
        let known = self.variables.len();
        let names = &branch.pipeline.variables;
        let value = self.pipeline(&branch.pipeline, dot)?;
        let pairs: Box<dyn Iterator<Item = (Value, Value)>> = match value.made() {
            Value::List(items) => Box::new(
                items
                    .into_iter()
                    .zip(0_i64..)
                    .map(|(item, at)| (Value::Int(at), item)),
            ),
            Value::Map(fields) => {
                Box::new(fields.into_iter().map(|(name, value)| (Value::Text(name), value)))
            }
            Value::Int(count) => Box::new((0..count).map(|at| (Value::Int(at), Value::Int(at)))),
            Value::Missing | Value::Nil => Box::new(std::iter::empty()),
            other => {
                let message = format!("range can't iterate over {}", other.plain());
                return Err(self.error(branch.pipeline.at, &branch.pipeline, message));
            }
        };
        let mut any = false;
        for (key, item) in pairs {
            any = true;
            let mark = self.variables.len();
            let set = match names.as_slice() {
                [] => Vec::new(),
                [one] => vec![(one, item.clone())],
                [first, second, ..] => vec![(first, key), (second, item.clone())],
            };
            for (name, value) in set {
                if branch.pipeline.assigns {
                    self.assign(name, value);
                } else {
                    self.variables.push((name.clone(), value));
                }
            }
            let flow = self.nodes(&branch.body, &item)?;
            self.variables.truncate(mark);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if any {
            Flow::On
        } else {
            self.nodes(&branch.otherwise, dot)?
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    fn assign(&mut self, name: &str, value: Value) {
        let mut variables = self.variables.iter_mut().rev();
        if let Some((_, old)) = variables.find(|(known, _)| known == name) {
            *old = value;
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Outcome<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Missing);
        for name in &pipeline.variables {
            if pipeline.assigns {
                self.assign(name, value.clone());
            } else {
                self.variables.push((name.clone(), value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, piped: Option<Value>) -> Outcome<Value> {
        let (first, rest) = command.words.split_first().ok_or_else(|| {
            // The parser makes no empty command.
            self.error(command.at, command, "empty command")
        })?;
        let has_arguments = !rest.is_empty() || piped.is_some();
        match &first.kind {
            OperandKind::Function(name) => self.call(name, first, command, rest, dot, piped),
            OperandKind::Field(names) => self.fields(first, names, dot.clone(), rest, dot, piped),
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                if names.is_empty() && has_arguments {
                    return Err(self.error(first.at, command, not_a_function(first)));
                }
                self.fields(first, names, value, rest, dot, piped)
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(first, names, value, rest, dot, piped)
            }
            _ if has_arguments => Err(self.error(command.at, command, not_a_function(first))),
            OperandKind::Nil => Err(self.error(first.at, first, "nil is not a command")),
            _ => self.operand(first, dot),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let mut variables = self.variables.iter().rev();
        variables
            .find(|(known, _)| known == name)
            .map_or(Value::Missing, |(_, value)| value.clone())
    }

    /// A value on its own, as an argument is one.
    fn operand(&mut self, operand: &Operand, dot: &Value) -> Outcome<Value> {
        Ok(match &operand.kind {
            OperandKind::Dot => dot.clone(),
            OperandKind::Nil => Value::Missing,
            OperandKind::Bool(value) => Value::Bool(*value),
            OperandKind::Number(_, Literal::Int(number)) => Value::Int(*number),
            OperandKind::Number(_, Literal::Float(number)) => Value::Float(*number),
            OperandKind::Text(_, text) => Value::Text(text.clone()),
            OperandKind::Field(names) => self.fields(operand, names, dot.clone(), &[], dot, None)?,
            OperandKind::Variable(name, names) => {
                let value = self.variable(name);
                self.fields(operand, names, value, &[], dot, None)?
            }
            OperandKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(operand, names, value, &[], dot, None)?
            }
            OperandKind::Function(name) => {
                let command = Command {
                    at: operand.at,
                    words: vec![operand.clone()],
                };
                self.call(name, operand, &command, &[], dot, None)?
            }
            OperandKind::Pipeline(pipeline) => self.pipeline(pipeline, dot)?,
        })
    }

    /// One field after the other; the last one may take arguments.
    fn fields(
        &mut self,
        node: &Operand,
        names: &[String],
        receiver: Value,
        arguments: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Outcome<Value> {
        let mut value = receiver;
        for (at, name) in names.iter().enumerate() {
            let last = at + 1 == names.len();
            let count = if last {
                arguments.len() + usize::from(piped.is_some())
            } else {
                0
            };
            let found = self.field(node, name, value)?;
            value = match found {
                Value::Lookup(texts) if self.mode == Mode::Head || count == 1 => {
                    let asked = match arguments.first() {
                        Some(argument) => self.operand(argument, dot)?,
                        None => piped.clone().unwrap_or(Value::Missing),
                    };
                    let Value::Text(key) = asked else {
                        let message =
                            format!("wrong type for value; expected string; got {}", asked.type_name());
                        return Err(self.error(node.at, node, message));
                    };
                    if self.mode == Mode::Head {
                        Value::Text(head_of(&key))
                    } else {
                        Value::Text(texts.get(&key).cloned().unwrap_or_default())
                    }
                }
                Value::Lookup(_) => {
                    let message = format!("wrong number of args for {name}: want 1 got {count}");
                    return Err(self.error(node.at, node, message));
                }
                _ if count > 0 => {
                    let message = format!("{name} is not a method but has arguments");
                    return Err(self.error(node.at, node, message));
                }
                plain => plain,
            };
        }
        Ok(value)
    }

    fn field(&self, node: &Operand, name: &str, receiver: Value) -> Outcome<Value> {
        let message = match receiver.made() {
            Value::Map(mut fields) => match fields.remove(name) {
                Some(value) => return Ok(value),
                None if self.mode != Mode::Strict => return Ok(Value::Missing),
                None => format!("map has no entry for key {name:?}"),
            },
            Value::Object(mut object) => match object.fields.iter().position(|(field, _)| field == name) {
                Some(at) => return Ok(object.fields.swap_remove(at).1),
                None => format!("can't evaluate field {name} in type {}", object.type_name),
            },
            // Of what a map doesn't have there is nothing either, and that is no mistake.
            Value::Missing if self.mode != Mode::Strict => return Ok(Value::Missing),
            Value::Missing | Value::Nil => format!("nil pointer evaluating interface {{}}.{name}"),
            _ if self.mode == Mode::Strict => format!("can't evaluate field {name} in type interface {{}}"),
            other => format!("can't evaluate field {name} in type {}", other.type_name()),
        };
        Err(self.error(node.at, node, message))
    }

    fn call(
        &mut self,
        name: &str,
        node: &Operand,
        command: &Command,
        arguments: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Outcome<Value> {
        if name == "and" || name == "or" {
            return self.short_circuit(name, node, command, arguments, dot, piped);
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(piped);
        if self.mode == Mode::Head && functions::is_plain_in_heads(name) {
            return Ok(values.into_iter().next().unwrap_or(Value::Missing));
        }
        functions::call(name, &values, self.mode == Mode::Strict).map_err(|fault| match fault {
            functions::Fault::Count(want) => {
                let message = format!(
                    "wrong number of args for {name}: want {want} got {}",
                    values.len()
                );
                self.error(node.at, node, message)
            }
            functions::Fault::Type { at, expected } => {
                let got = values.get(at).map_or("<nil>", Value::type_name);
                let message = format!("wrong type for value; expected {expected}; got {got}");
                match arguments.get(at) {
                    Some(argument) => self.error(argument.at, argument, message),
                    None => self.error(node.at, node, message),
                }
            }
            functions::Fault::Failed(message) => {
                self.error(command.at, command, format!("error calling {name}: {message}"))
            }
            functions::Fault::NotFunction => {
                let shown = arguments.first().map(ToString::to_string).unwrap_or_default();
                let got = values.first().map_or("<nil>", Value::type_name);
                let message = format!("error calling call: non-function {shown} of type {got}");
                self.error(command.at, command, message)
            }
        })
    }

    /// What stands behind the answer is not looked at.
    fn short_circuit(
        &mut self,
        name: &str,
        node: &Operand,
        command: &Command,
        arguments: &[Operand],
        dot: &Value,
        piped: Option<Value>,
    ) -> Outcome<Value> {
        if arguments.is_empty() && piped.is_none() {
            let message = format!("wrong number of args for {name}: want at least 1 got 0");
            return Err(self.error(node.at, command, message));
        }
        let stops_at = name == "or";
        let mut value = Value::Missing;
        for argument in arguments {
            value = self.operand(argument, dot)?;
            if value.is_true() == stops_at {
                return Ok(value);
            }
        }
        Ok(piped.unwrap_or(value))
    }
}

fn not_a_function(operand: &Operand) -> String {
    format!("can't give argument to non-function {operand}")
}

/// What a column of labels is called: the last part of the label's name.
fn head_of(label: &str) -> String {
    let last = label.rsplit('.').next().unwrap_or(label);
    last.replace(['-', '_'], " ")
}
