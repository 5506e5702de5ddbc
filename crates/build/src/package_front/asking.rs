//! What a step's command asks of pip, as far as it can be told from its text.
//!
//! The front answers a step only where every command in it is known, pip installs for the interpreter that runs it, and nothing
//! writes down where packages came from. What isn't understood goes past the front, as it would without it.

/// Programs that run no other and have nothing to do with package indices.
const HARMLESS: [&str; 33] = [
    ":", "adduser", "addgroup", "apk", "apt", "apt-get", "apt-mark", "cat", "cd", "chmod", "chown", "cp",
    "curl", "dpkg", "echo", "false", "groupadd", "ldconfig", "ln", "ls", "mkdir", "mv", "printf", "rm",
    "sed", "set", "sleep", "tar", "touch", "true", "useradd", "wget", "which",
];
/// Commands of pip's that install, or look at nothing but what is installed.
const COMMANDS: [&str; 6] = ["cache", "check", "freeze", "install", "show", "uninstall"];
/// Beginnings of options by which pip chooses files for another interpreter, or writes down what it does.
const OTHERS: [&str; 8] = [
    "--pl", "--ab", "--im", "--py", "--verb", "--log", "--rep", "--dry",
];
/// Variables of pip's that change nothing about which files fit.
const VARIABLES: [&str; 14] = [
    "PIP_BREAK_SYSTEM_PACKAGES",
    "PIP_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_DISABLE_PIP_VERSION_CHECK",
    "PIP_NO_CACHE_DIR",
    "PIP_NO_COLOR",
    "PIP_NO_COMPILE",
    "PIP_NO_INPUT",
    "PIP_NO_WARN_SCRIPT_LOCATION",
    "PIP_PREFER_BINARY",
    "PIP_PROGRESS_BAR",
    "PIP_QUIET",
    "PIP_ROOT_USER_ACTION",
    "PIP_USER",
];

/// Whether a step with these arguments and variables does nothing with pip but install from its default index.
pub(crate) fn installs<'a>(argv: &[String], mut variables: impl Iterator<Item = &'a String>) -> bool {
    if variables.any(|name| name.starts_with("PIP_") && !VARIABLES.contains(&name.as_str())) {
        return false;
    }
    let name = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let shell = argv.first().map(name).unwrap_or_default();
    let commands = match argv {
        [_, options @ .., text] if matches!(shell.as_str(), "sh" | "bash" | "dash" | "ash") => {
            if !options
                .last()
                .is_some_and(|last| last.starts_with('-') && last.ends_with('c'))
            {
                return false;
            }
            match commands(text) {
                Some(commands) => commands,
                None => return false,
            }
        }
        _ => vec![argv.to_vec()],
    };
    let mut found = false;
    for command in &commands {
        match kind(command) {
            Kind::Installs => found = true,
            Kind::Harmless => {}
            Kind::Unknown => return false,
        }
    }
    found
}

enum Kind {
    Installs,
    Harmless,
    Unknown,
}

fn kind(words: &[String]) -> Kind {
    let is_assignment = |word: &&String| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let assigned = words.iter().take_while(is_assignment).count();
    if words[..assigned].iter().any(|word| word.starts_with("PIP_")) {
        return Kind::Unknown;
    }
    let words = &words[assigned..];
    let Some(first) = words.first() else {
        return Kind::Harmless;
    };
    if first.contains(['$', '*', '?', '~']) {
        return Kind::Unknown;
    }
    let name = first.rsplit('/').next().unwrap_or_default();
    let rest = &words[1..];
    if is_versioned(name, "pip") {
        return pip(rest);
    }
    if is_versioned(name, "python") {
        return match rest {
            [flag, module, rest @ ..] if flag == "-m" && module == "pip" => pip(rest),
            [flag, module, ..] if flag == "-m" && module == "venv" => Kind::Harmless,
            [flag] if flag == "--version" || flag == "-V" => Kind::Harmless,
            _ => Kind::Unknown,
        };
    }
    match name {
        "." | "source" if rest.len() == 1 && rest[0].ends_with("/bin/activate") => Kind::Harmless,
        // What it starts may be anything but this.
        "find" if finds(rest) => Kind::Harmless,
        "export" if !rest.iter().any(|word| word.starts_with("PIP_")) => Kind::Harmless,
        _ if HARMLESS.contains(&name) => Kind::Harmless,
        _ => Kind::Unknown,
    }
}

/// Whether `find` starts nothing but `rm`.
fn finds(words: &[String]) -> bool {
    let starts = |word: &String| word.starts_with("-exec") || word.starts_with("-ok");
    words
        .iter()
        .enumerate()
        .all(|(at, word)| !starts(word) || words.get(at + 1).is_some_and(|program| program == "rm"))
}

/// `pip`, `pip3`, `pip3.11`.
fn is_versioned(name: &str, program: &str) -> bool {
    name.strip_prefix(program)
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn pip(words: &[String]) -> Kind {
    let is_other = |word: &String| {
        let short = word.starts_with('-') && !word.starts_with("--");
        // What a variable stands for isn't known.
        OTHERS.iter().any(|other| word.starts_with(other))
            || word.starts_with('$')
            || (short && word.contains('v'))
    };
    if words.iter().any(is_other) {
        return Kind::Unknown;
    }
    match words.iter().find(|word| !word.starts_with('-')) {
        Some(command) if command == "install" => Kind::Installs,
        Some(command) if COMMANDS.contains(&command.as_str()) => Kind::Harmless,
        None if words == ["--version"] || words == ["-V"] => Kind::Harmless,
        _ => Kind::Unknown,
    }
}

/// The commands of a shell's text, each as its words; none where the text does more than to run one after another.
fn commands(text: &str) -> Option<Vec<Vec<String>>> {
    let (mut all, mut words) = (Vec::new(), Vec::new());
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let before = word.as_ref().and_then(|word| word.chars().last());
        match (quote, character) {
            (None | Some('"'), '`') => return None,
            (None | Some('"'), '$') if characters.peek() == Some(&'(') => return None,
            (Some(open), close) if open == close => quote = None,
            (Some('\''), other) => word.get_or_insert_default().push(other),
            (_, '\\') => match characters.next() {
                Some('\n') => {}
                other => word.get_or_insert_default().push(other?),
            },
            (Some(_), other) => word.get_or_insert_default().push(other),
            (None, '(' | ')') => return None,
            (None, '<') if matches!(characters.peek(), Some('<' | '(')) => return None,
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(character);
            }
            (None, '#') if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            (None, '&') if matches!(before, Some('>' | '<')) || characters.peek() == Some(&'>') => {
                word.get_or_insert_default().push('&');
            }
            (None, ';' | '&' | '|' | '\n') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    all.push(words);
    quote.is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> bool {
        let argv = ["/bin/sh", "-c", text].map(str::to_owned);
        installs(&argv, [].iter())
    }

    #[test]
    fn plain_installations() {
        for text in [
            "pip install --no-cache-dir --user -r requirements.txt",
            "pip3 install flask",
            "python -m pip install --upgrade pip && pip install -r requirements.txt",
            "python3.11 -m venv /opt/venv && /opt/venv/bin/pip install 'uvicorn[standard]==0.34.0'",
            "set -eux; apt-get update && apt-get install -y gcc \\\n  && pip install numpy==$NUMPY && rm -rf /var/lib/apt/lists/*",
            ". /opt/venv/bin/activate && pip install . 2>&1 # all of it",
            "LANG=C pip --no-cache-dir install \"a >= 1; python_version > '3'\" > /log 2>&1",
            "pip install --no-cache-dir -t /layer requests",
            "pip install x && find / -type d \\( -name tests -o -name test \\) -prune -exec rm -rf {} + && find / -name '*.pyc' -delete",
        ] {
            assert!(shell(text), "{text}");
        }
        let words = ["pip", "install", "flask"].map(str::to_owned);
        assert!(installs(
            &words,
            ["PATH".to_owned(), "PIP_NO_CACHE_DIR".to_owned()].iter()
        ));
        let bash = ["/bin/bash", "-o", "pipefail", "-c", "pip install flask"].map(str::to_owned);
        assert!(installs(&bash, [].iter()));
    }

    #[test]
    fn what_is_not_known_goes_past() {
        for text in [
            "true",
            "pip --version",
            "pip download flask",
            "pip install --platform win_amd64 --target x flask",
            "pip install --plat=any flask",
            "pip install --python-version 3.9 -t x flask",
            "pip install -v flask",
            "pip install --log /log flask",
            "pip install $OPTIONS flask",
            "pip install flask && pip config list",
            "pip install pip-tools && pip-compile",
            "pip install uv && uv sync",
            "pip install poetry && poetry install",
            "PIP_PLATFORM=any pip install flask",
            "export PIP_INDEX_URL=https://other.example/ && pip install flask",
            "pip install $(cat list)",
            "pip install `cat list`",
            "(pip install flask)",
            "if true; then pip install flask; fi",
            "pip install flask && ./more.sh",
            "pip install flask && find / -name x.sh -exec sh {} \\;",
            "pip install flask && find / -exec",
            "pip install flask <<X\nX",
            "python setup.py install && pip install flask",
            "pip install 'flask",
        ] {
            assert!(!shell(text), "{text}");
        }
        let words = ["pip", "install", "flask"].map(str::to_owned);
        assert!(!installs(&words, ["PIP_INDEX_URL".to_owned()].iter()));
        assert!(!installs(
            &["./pip.sh".to_owned(), "install".to_owned()],
            [].iter()
        ));
        assert!(!installs(&[], [].iter()));
    }
}
