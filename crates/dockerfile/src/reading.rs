//! Nodes to typed instructions.

use std::collections::BTreeMap;

use crate::duration;
use crate::fault::{Fault, Span};
use crate::forms;
use crate::heredoc::Heredoc;
use crate::instruction::{
    CommandLine, Copying, Healthcheck, InlineFile, Instruction, Located, Run, RunNetwork, RunSecurity,
};
use crate::lines::Node;
use crate::mount::Mount;
use crate::near;

/// Every instruction's word.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a flag that is on or off says.
fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// What is known of a node while it is read.
pub(crate) struct Reader<'a> {
    pub(crate) node: &'a Node,
    pub(crate) escape: char,
}

impl Reader<'_> {
    /// The keyword in capitals.
    pub(crate) fn keyword(&self) -> String {
        self.node.keyword.to_ascii_uppercase()
    }

    fn span(&self) -> Span {
        self.node.span
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.span(), message)
    }

    fn invalid_form(&self, error: &'static str) -> Fault {
        self.fault(error).at(self.node.rest.clone()).help(format!(
            "write {} [\"first\", \"second\"], each in double quotes",
            self.keyword()
        ))
    }

    /// An instruction other than `FROM`.
    pub(crate) fn instruction(&self) -> Result<Located, Fault> {
        let keyword = self.keyword();
        let node = self.node;
        if !KEYWORDS.contains(&keyword.as_str()) {
            return Err(self.unknown());
        }
        let (words, rest) = forms::flags(&node.rest);
        let flags = self.flags(&keyword, &words)?;
        let instruction = match keyword.as_str() {
            "ADD" => Instruction::Add(self.copying(rest, &flags)?),
            "COPY" => Instruction::Copy(self.copying(rest, &flags)?),
            "RUN" => Instruction::Run(self.run(rest, &flags)?),
            "CMD" => Instruction::Cmd(self.command(rest)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(rest)?),
            "ARG" => Instruction::Arg(self.args(rest)?),
            "ENV" | "LABEL" => {
                if rest.is_empty() {
                    return Err(self.needs_one());
                }
                let pairs = forms::pairs(rest, self.escape).map_err(|word| self.bad_pair(word))?;
                if let Some(pair) = pairs.iter().find(|pair| pair.key.is_empty()) {
                    let text = format!("{keyword} names can not be blank");
                    return Err(self.fault(text).at(format!("={}", pair.value)));
                }
                match keyword.as_str() {
                    "ENV" => Instruction::Env(pairs),
                    _ => Instruction::Label(pairs),
                }
            }
            "EXPOSE" => {
                let ports: Vec<String> = forms::blank_words(rest).map(str::to_owned).collect();
                if ports.is_empty() {
                    return Err(self.needs_one());
                }
                Instruction::Expose(ports)
            }
            "HEALTHCHECK" => Instruction::Healthcheck(self.healthcheck(rest, &flags)?),
            "MAINTAINER" => Instruction::Maintainer(self.exactly_one(rest)?),
            "ONBUILD" => Instruction::OnBuild(self.on_build(rest)?),
            "SHELL" => match forms::json(rest).map_err(|error| self.invalid_form(error))? {
                Some(words) if !words.is_empty() => Instruction::Shell(words),
                Some(_) => return Err(self.needs_one()),
                None => {
                    let text = "SHELL requires the arguments to be in JSON form";
                    return Err(self
                        .fault(text)
                        .at(rest)
                        .help("for example SHELL [\"/bin/bash\", \"-c\"]"));
                }
            },
            "STOPSIGNAL" => Instruction::StopSignal(self.exactly_one(rest)?),
            "USER" => Instruction::User(self.exactly_one(rest)?),
            "VOLUME" => {
                let paths = self.list(rest)?;
                if paths.is_empty() {
                    return Err(self.needs_one());
                }
                if paths.iter().any(|path| path.trim().is_empty()) {
                    return Err(self.fault("VOLUME specified can not be an empty string"));
                }
                Instruction::Volume(paths.iter().map(|path| path.trim().to_owned()).collect())
            }
            _ => Instruction::Workdir(self.exactly_one(rest)?),
        };
        Ok(Located {
            span: node.span,
            text: format!("{keyword} {}", node.rest).trim_end().to_owned(),
            instruction,
        })
    }

    /// A first word that is no instruction.
    fn unknown(&self) -> Fault {
        let word = &self.node.keyword;
        let fault = self
            .fault(format!("unknown instruction: {word}"))
            .at(word.clone());
        // Guides lose the blanks around a dot.
        if let Some(bare) = word.strip_suffix('.')
            && ["COPY", "ADD"].contains(&bare.to_ascii_uppercase().as_str())
        {
            let rest = match self.node.rest.as_str() {
                "" => ".",
                rest => rest,
            };
            return fault.help(format!("a blank is missing: write `{bare} . {rest}`"));
        }
        match near::closest(word, KEYWORDS) {
            Some(near) => fault.help(format!("did you mean {near}?")),
            None => fault.help(format!("instructions are {}", KEYWORDS.join(", "))),
        }
    }

    fn needs_one(&self) -> Fault {
        self.fault(format!("{} requires at least one argument", self.keyword()))
    }

    fn exactly_one(&self, rest: &str) -> Result<String, Fault> {
        match rest {
            "" => Err(self.fault(format!("{} requires exactly one argument", self.keyword()))),
            rest => Ok(rest.to_owned()),
        }
    }

    fn bad_pair(&self, word: Option<String>) -> Fault {
        let keyword = self.keyword();
        match word {
            None => self
                .fault(format!("{keyword} must have two arguments"))
                .at(self.node.rest.clone())
                .help(format!("write {keyword} {}=value", self.node.rest)),
            Some(word) => self
                .fault(format!(
                    "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
                ))
                .at(word)
                .help("a value with blanks needs quotes: NAME=\"a value\""),
        }
    }

    /// Flags by name, those that may come several times in their order.
    fn flags(&self, keyword: &str, words: &[String]) -> Result<BTreeMap<String, Vec<String>>, Fault> {
        let known: &[&str] = match keyword {
            "FROM" => &["platform"],
            "RUN" => &["mount", "network", "security", "device"],
            "COPY" => &["from", "chown", "chmod", "link", "parents", "exclude"],
            "ADD" => &[
                "chown",
                "chmod",
                "link",
                "exclude",
                "checksum",
                "keep-git-dir",
                "unpack",
            ],
            "HEALTHCHECK" => &["interval", "timeout", "start-period", "start-interval", "retries"],
            _ => &[],
        };
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for word in words {
            let bare = word.strip_prefix("--").unwrap_or(word);
            let (name, value) = match bare.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (bare, None),
            };
            if !known.contains(&name) {
                let fault = self
                    .fault(format!("unknown flag: --{name}"))
                    .at(format!("--{name}"));
                return Err(match near::closest(name, known.iter().copied()) {
                    Some(near) => fault.help(format!("did you mean --{near}?")),
                    None if known.is_empty() => fault.help(format!("{keyword} takes no flags")),
                    None => fault.help(format!("{keyword} takes --{}", known.join(", --"))),
                });
            }
            let is_switch = matches!(name, "link" | "parents" | "keep-git-dir" | "unpack");
            let value = match value {
                Some(value) if !(is_switch && value.is_empty()) => value,
                None if is_switch => "true",
                _ => {
                    return Err(self
                        .fault(format!("missing a value on flag: --{name}"))
                        .at(format!("--{name}"))
                        .help(format!("write --{name}=VALUE, with no blank")));
                }
            };
            if is_switch && switch(value).is_none() {
                let text = format!("expecting boolean value for flag {name}, not: {value}");
                return Err(self.fault(text).at(word.clone()));
            }
            let values = found.entry(name.to_owned()).or_default();
            if !values.is_empty() && !matches!(name, "mount" | "exclude" | "device") {
                return Err(self
                    .fault(format!("duplicate flag specified: --{name}"))
                    .at(format!("--{name}")));
            }
            values.push(value.to_owned());
        }
        Ok(found)
    }

    /// `FROM`: flags, the base's name and the stage's.
    pub(crate) fn from(&self) -> Result<(Option<String>, String, Option<String>), Fault> {
        let (words, rest) = forms::flags(&self.node.rest);
        let flags = self.flags("FROM", &words)?;
        let words: Vec<&str> = forms::blank_words(rest).collect();
        let (base, name) = match words.as_slice() {
            [base] => (*base, None),
            [base, word, name] if word.eq_ignore_ascii_case("as") => (*base, Some(*name)),
            _ => {
                return Err(self
                    .fault("FROM requires either one or three arguments")
                    .help("write FROM IMAGE, or FROM IMAGE AS NAME"));
            }
        };
        let name = match name {
            Some(name) => Some(self.stage_name(name)?),
            None => None,
        };
        let platform = flags.get("platform").and_then(|values| values.first()).cloned();
        Ok((platform, base.to_owned(), name))
    }

    fn stage_name(&self, name: &str) -> Result<String, Fault> {
        let lower = name.to_lowercase();
        let starts = lower.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = lower
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
        if starts && rest {
            return Ok(lower);
        }
        let text = format!(
            "invalid name for build stage: \"{name}\", name can't start with a number or contain symbols"
        );
        Err(self
            .fault(text)
            .at(name)
            .help("a name is letters, digits, `-`, `_` and `.`, a letter first"))
    }

    fn command(&self, rest: &str) -> Result<CommandLine, Fault> {
        Ok(
            match forms::json(rest).map_err(|error| self.invalid_form(error))? {
                Some(words) => CommandLine { words, shell: false },
                None => CommandLine {
                    words: vec![rest.to_owned()],
                    shell: true,
                },
            },
        )
    }

    fn list(&self, rest: &str) -> Result<Vec<String>, Fault> {
        let list = forms::json(rest).map_err(|error| self.invalid_form(error))?;
        Ok(list.unwrap_or_else(|| forms::blank_words(rest).map(str::to_owned).collect()))
    }

    fn run(&self, rest: &str, flags: &BTreeMap<String, Vec<String>>) -> Result<Run, Fault> {
        let one = |name: &str| {
            flags
                .get(name)
                .and_then(|values| values.first())
                .map(String::as_str)
        };
        let network = match one("network") {
            None | Some("default") => RunNetwork::Default,
            Some("none") => RunNetwork::None,
            Some("host") => RunNetwork::Host,
            Some(other) => {
                return Err(self
                    .fault(format!("invalid network mode \"{other}\""))
                    .at(other)
                    .help("it is default, none or host"));
            }
        };
        let security = match one("security") {
            None | Some("sandbox") => RunSecurity::Sandbox,
            Some("insecure") => RunSecurity::Insecure,
            Some(other) => {
                return Err(self
                    .fault(format!("security \"{other}\" is not valid"))
                    .at(other)
                    .help("it is sandbox or insecure"));
            }
        };
        let mounts = flags.get("mount").cloned().unwrap_or_default();
        for text in &mounts {
            // What a stage needs is asked before it is known whether the stage is needed.
            if let Err(error) = Mount::parse(text, &mut |value| Ok(value.to_owned()))
                && error.starts_with("'from'")
            {
                return Err(self
                    .fault(error)
                    .at(text.clone())
                    .help("write FROM … AS NAME with the variable above this stage, and from=NAME here"));
            }
        }
        Ok(Run {
            command: self.command(rest)?,
            heredocs: self.node.heredocs.clone(),
            mounts,
            network,
            security,
            devices: flags.get("device").cloned().unwrap_or_default(),
        })
    }

    fn copying(&self, rest: &str, flags: &BTreeMap<String, Vec<String>>) -> Result<Copying, Fault> {
        let keyword = self.keyword();
        let words = self.list(rest)?;
        let Some((destination, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty())
        else {
            return Err(self.no_destination(&words));
        };
        if Heredoc::of_word(destination).is_some() {
            let text = format!("{keyword} cannot accept a heredoc as a destination");
            return Err(self.fault(text).at(destination.clone()));
        }
        let one = |name: &str| flags.get(name).and_then(|values| values.first()).cloned();
        let is_on = |name: &str| one(name).and_then(|text| switch(&text));
        let mut copying = Copying {
            destination: destination.clone(),
            from: one("from").filter(|from| !from.is_empty()),
            chown: one("chown"),
            chmod: one("chmod"),
            link: is_on("link").unwrap_or(false),
            parents: is_on("parents").unwrap_or(false),
            exclude: flags.get("exclude").cloned().unwrap_or_default(),
            checksum: one("checksum"),
            unpack: is_on("unpack"),
            keep_git_dir: is_on("keep-git-dir"),
            ..Copying::default()
        };
        for source in sources {
            let document = Heredoc::of_word(source)
                .and_then(|word| self.node.heredocs.iter().find(|doc| doc.name == word.name));
            match document {
                Some(document) => copying.files.push(InlineFile {
                    name: document.name.clone(),
                    text: document.text(),
                    expand: document.expand,
                }),
                None => copying.sources.push(source.clone()),
            }
        }
        Ok(copying)
    }

    fn no_destination(&self, words: &[String]) -> Fault {
        let keyword = self.keyword();
        match words {
            [] => self.fault(format!(
                "{keyword} requires at least two arguments, but none were provided"
            )),
            [only, ..] => {
                let fault = self
                    .fault(format!(
                        "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
                    ))
                    .at(only.clone());
                match only.strip_suffix('.') {
                    Some("" | "/" | "./" | "..") | None => {
                        fault.help(format!("say where to: {keyword} {only} ."))
                    }
                    // Guides lose the blank before the last dot.
                    Some(source) => fault.help(format!("a blank is missing: write `{keyword} {source} .`")),
                }
            }
        }
    }

    pub(crate) fn args(&self, rest: &str) -> Result<Vec<(String, Option<String>)>, Fault> {
        let words = forms::quoted_words(rest, self.escape);
        if words.is_empty() {
            return Err(self.needs_one());
        }
        words
            .into_iter()
            .map(|word| match word.split_once('=') {
                Some(("", _)) => Err(self.fault("ARG names can not be blank").at(word.clone())),
                Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
                None => Ok((word, None)),
            })
            .collect()
    }

    fn healthcheck(&self, rest: &str, flags: &BTreeMap<String, Vec<String>>) -> Result<Healthcheck, Fault> {
        let (kind, rest) = match rest.find(char::is_whitespace) {
            Some(at) => (&rest[..at], rest[at..].trim()),
            None => (rest, ""),
        };
        let mut check = Healthcheck::default();
        match kind.to_ascii_uppercase().as_str() {
            "" => return Err(self.needs_one()),
            "NONE" if rest.is_empty() => {
                check.test = vec!["NONE".into()];
                return Ok(check);
            }
            "NONE" => return Err(self.fault("HEALTHCHECK NONE takes no arguments")),
            "CMD" => {}
            _ => {
                return Err(self
                    .fault(format!("Unknown type \"{kind}\" in HEALTHCHECK (try CMD)"))
                    .at(kind)
                    .help(format!("write HEALTHCHECK CMD {kind} …, or HEALTHCHECK NONE")));
            }
        }
        let command = self.command(rest)?;
        if command.words.iter().all(String::is_empty) {
            return Err(self.fault("Missing command after HEALTHCHECK CMD"));
        }
        check.test = vec![if command.shell { "CMD-SHELL" } else { "CMD" }.to_owned()];
        check.test.extend(command.words);
        for (name, values) in flags {
            let text = values.first().map_or("", String::as_str);
            if text.is_empty() {
                continue;
            }
            if name == "retries" {
                let retries = text.parse::<i64>().map_err(|_| {
                    self.fault(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
                        .at(text)
                        .help("--retries is a number, such as 3")
                })?;
                if retries < 0 {
                    let text = format!("--retries cannot be negative ({retries})");
                    return Err(self.fault(text).at("--retries"));
                }
                check.retries = retries;
                continue;
            }
            let time = duration::nanoseconds(text).map_err(|error| {
                self.fault(error).at(text).help(format!(
                    "--{name} is a length of time, such as 30s, 1m30s or 500ms"
                ))
            })?;
            if time < 0 || (0 < time && time < 1_000_000) {
                let text = format!("Interval {name:?} cannot be less than 1ms");
                return Err(self.fault(text).at(format!("--{name}")));
            }
            *match name.as_str() {
                "interval" => &mut check.interval,
                "timeout" => &mut check.timeout,
                "start-period" => &mut check.start_period,
                _ => &mut check.start_interval,
            } = time;
        }
        Ok(check)
    }

    fn on_build(&self, rest: &str) -> Result<String, Fault> {
        let trigger = rest.split_whitespace().next().unwrap_or_default();
        match trigger.to_ascii_uppercase().as_str() {
            "" => Err(self.needs_one()),
            "ONBUILD" => Err(self.fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
            "MAINTAINER" => Err(self.fault(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
            "FROM" => Err(self.fault(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
            _ => {
                let mut text = self.node.original.clone();
                for document in &self.node.heredocs {
                    text.push_str(&format!("\n{}{}\n", document.content, document.name));
                }
                Ok(text.trim_end_matches('\n').to_owned())
            }
        }
    }
}
