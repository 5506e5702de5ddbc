//! How a Dockerfile is written: casing, empty lines, descriptions.

use super::Warning;
use crate::lines::Node;

pub(super) fn check(text: &str, nodes: &[Node], found: &mut Vec<Warning>) {
    casing(nodes, found);
    let lines: Vec<&str> = text.lines().collect();
    for (at, node) in nodes.iter().enumerate() {
        let last = node.span.end_line.min(lines.len());
        // A here-document's own lines may be empty.
        let own = match node.heredocs.is_empty() {
            true => last,
            false => node.span.line,
        };
        let inside = lines.get(node.span.line..own).unwrap_or_default();
        if inside.iter().any(|line| line.trim().is_empty()) {
            found.push(Warning::new(
                node.span,
                "NoEmptyContinuation",
                "an empty line stands in an instruction that goes on below it",
                "remove the empty line, or the escape above it: a later syntax will refuse this",
            ));
        }
        let word = node.keyword.to_ascii_uppercase();
        match word.as_str() {
            "MAINTAINER" => found.push(Warning::new(
                node.span,
                "MaintainerDeprecated",
                "MAINTAINER is deprecated",
                format!("write LABEL org.opencontainers.image.authors=\"{}\"", node.rest),
            )),
            "FROM" => from(node, found),
            _ => {}
        }
        if word == "FROM"
            || word == "ARG"
                && !nodes[..at]
                    .iter()
                    .any(|node| node.keyword.eq_ignore_ascii_case("FROM"))
        {
            description(node, &lines, found);
        }
    }
}

/// Instructions are written like most of them.
fn casing(nodes: &[Node], found: &mut Vec<Warning>) {
    let is_lower = |node: &&Node| node.keyword.chars().all(|c| !c.is_ascii_uppercase());
    let is_upper = |node: &&Node| node.keyword.chars().all(|c| !c.is_ascii_lowercase());
    let (lower, upper) = (
        nodes.iter().filter(is_lower).count(),
        nodes.iter().filter(is_upper).count(),
    );
    let is_lowercase = lower > upper;
    for node in nodes {
        let fits = if is_lowercase {
            is_lower(&node)
        } else {
            is_upper(&node)
        };
        if !fits {
            let wanted = match is_lowercase {
                true => node.keyword.to_ascii_lowercase(),
                false => node.keyword.to_ascii_uppercase(),
            };
            found.push(Warning::new(
                node.span,
                "ConsistentInstructionCasing",
                format!(
                    "{} is not written like most instructions of this file",
                    node.keyword
                ),
                format!("write {wanted}"),
            ));
        }
    }
}

fn from(node: &Node, found: &mut Vec<Warning>) {
    let words: Vec<&str> = node.rest.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| word.eq_ignore_ascii_case("as")) else {
        return;
    };
    let keyword_lower = !node.keyword.chars().any(|c| c.is_ascii_uppercase());
    let as_lower = !words[at].chars().any(|c| c.is_ascii_uppercase());
    if keyword_lower != as_lower {
        let wanted = if keyword_lower { "as" } else { "AS" };
        found.push(Warning::new(
            node.span,
            "FromAsCasing",
            format!("`{}` and `{}` are written in two ways", node.keyword, words[at]),
            format!("write {wanted}"),
        ));
    }
    let Some(name) = words.get(at + 1) else { return };
    if name.chars().any(char::is_uppercase) {
        found.push(Warning::new(
            node.span,
            "StageNameCasing",
            format!("the stage name `{name}` has capital letters, which don't count"),
            format!("write {}", name.to_lowercase()),
        ));
    }
    let lower = name.to_lowercase();
    if ["scratch", "context"].contains(&lower.as_str()) {
        found.push(Warning::new(
            node.span,
            "ReservedStageName",
            format!("the stage name `{name}` has a meaning of its own"),
            "give the stage another name",
        ));
    }
}

/// A comment right above an ARG or FROM describes it: its first word is the name.
fn description(node: &Node, lines: &[&str], found: &mut Vec<Warning>) {
    let Some(above) = node.span.line.checked_sub(2).and_then(|at| lines.get(at)) else {
        return;
    };
    let Some(comment) = above.trim_start().strip_prefix('#') else {
        return;
    };
    let is_directive = comment.trim_start().split('=').next().is_some_and(|name| {
        ["syntax", "escape", "check"].contains(&name.trim().to_ascii_lowercase().as_str())
    }) && comment.contains('=');
    let words: Vec<&str> = node.rest.split_whitespace().collect();
    let name = match node.keyword.eq_ignore_ascii_case("FROM") {
        true => {
            let at = words.iter().position(|word| word.eq_ignore_ascii_case("as"));
            match at.and_then(|at| words.get(at + 1)) {
                Some(name) => *name,
                None => return,
            }
        }
        false => words
            .first()
            .map_or("", |word| word.split('=').next().unwrap_or(word)),
    };
    if is_directive || comment.split_whitespace().next() == Some(name) {
        return;
    }
    found.push(Warning::new(
        node.span,
        "InvalidDefinitionDescription",
        format!("the comment above `{name}` is not its description: that begins with its name"),
        format!("write `# {name} …`, or leave a line empty between the comment and it"),
    ));
}
