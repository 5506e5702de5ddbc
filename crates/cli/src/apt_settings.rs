//! The proxies that the host's apt is told of, for the steps of builds: `Acquire::http::Proxy` in `apt.conf`.

use std::fs;
use std::path::{Path, PathBuf};

/// Reads the configuration below a folder, `/etc/apt` as a rule; gives names and values of settings, a later one wins.
///
/// An address with a login is left out: steps get none of the host's.
pub fn proxies(etc_apt: &Path) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(etc_apt.join("apt.conf.d"))
        .map(|folder| folder.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| is_read(&path.file_name().unwrap_or_default().to_string_lossy()));
    files.sort();
    files.push(etc_apt.join("apt.conf"));
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    of_texts(texts)
}

/// Whether apt reads a file of this name in its folder.
fn is_read(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    name.chars().all(plain) && (!name.contains('.') || name.ends_with(".conf"))
}

fn of_texts(texts: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (name, value) in texts.flat_map(|text| settings(&text)) {
        if is_proxy(&name) {
            found.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
            if is_plain(&value) {
                found.push((name, value));
            }
        }
    }
    found
}

/// `Acquire::http::Proxy`, `Acquire::https::Proxy::deb.debian.org`.
fn is_proxy(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut parts = lower.split("::");
    parts.next() == Some("acquire")
        && matches!(parts.next(), Some("http" | "https"))
        && parts.next() == Some("proxy")
        && parts.next().is_none_or(|host| !host.is_empty())
        && parts.next().is_none()
}

/// An address without a login, or the word for none.
fn is_plain(value: &str) -> bool {
    let is_address = ["http://", "https://", "socks5h://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    value == "DIRECT" || (is_address && !value.contains(['@', '"', '\n']))
}

/// All settings of a file with their full names.
fn settings(text: &str) -> Vec<(String, String)> {
    let (mut all, mut scopes) = (Vec::new(), Vec::<usize>::new());
    let mut scope = String::new();
    let (mut name, mut value): (Option<String>, Option<String>) = (None, None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => while letters.next_if(|next| *next != '\n').is_some() {},
            '/' if letters.peek() == Some(&'/') => while letters.next_if(|next| *next != '\n').is_some() {},
            '/' if letters.peek() == Some(&'*') => {
                let mut before = ' ';
                letters.next();
                for next in letters.by_ref() {
                    if before == '*' && next == '/' {
                        break;
                    }
                    before = next;
                }
            }
            '"' => {
                let mut word = String::new();
                for next in letters.by_ref() {
                    match next {
                        '"' => break,
                        next => word.push(next),
                    }
                }
                value = Some(word);
            }
            '{' => {
                scopes.push(scope.len());
                if !scope.is_empty() {
                    scope.push_str("::");
                }
                scope.push_str(&name.take().unwrap_or_default());
            }
            '}' => {
                scope.truncate(scopes.pop().unwrap_or_default());
                (name, value) = (None, None);
            }
            ';' => {
                if let (Some(name), Some(value)) = (name.take(), value.take()) {
                    let full = match scope.is_empty() {
                        true => name,
                        false => format!("{scope}::{name}"),
                    };
                    all.push((full, value));
                }
                (name, value) = (None, None);
            }
            space if space.is_whitespace() => {}
            first => {
                let mut word = String::from(first);
                while let Some(next) =
                    letters.next_if(|next| !next.is_whitespace() && !"{};\"".contains(*next))
                {
                    word.push(next);
                }
                match name {
                    None => name = Some(word),
                    Some(_) => value = Some(word),
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Vec<String> {
        let found = of_texts(texts.iter().map(ToString::to_string)).into_iter();
        found.map(|(name, value)| format!("{name} {value}")).collect()
    }

    #[test]
    fn proxies_in_every_form() {
        assert_eq!(of(&[]), [""; 0]);
        let flat = "// of ours\nAcquire::http::Proxy \"http://proxy.corp:3142\";\nAcquire::Retries \"3\";\n";
        assert_eq!(of(&[flat]), ["Acquire::http::Proxy http://proxy.corp:3142"]);
        let nested = "Acquire {\n  http { Proxy \"http://p/\"; /* not \"this\"; */ };\n  HTTPS::Proxy \"DIRECT\";\n};\n\
                      Acquire::http::Proxy::deb.debian.org http://other:1/;\nAPT { NeverAutoRemove { \"^linux.*\"; }; };";
        assert_eq!(
            of(&[nested]),
            [
                "Acquire::http::Proxy http://p/",
                "Acquire::HTTPS::Proxy DIRECT",
                "Acquire::http::Proxy::deb.debian.org http://other:1/"
            ]
        );
    }

    #[test]
    fn later_files_win_and_logins_stay() {
        let old = "Acquire::http::Proxy \"http://old/\";";
        assert_eq!(
            of(&[old, "acquire::http::proxy \"http://new/\";"]),
            ["acquire::http::proxy http://new/"]
        );
        assert_eq!(of(&[old, "Acquire::http::Proxy \"http://me:pw@p/\";"]), [""; 0]);
        for nonsense in [
            "Acquire::http::Proxy \"",
            "}};;Acquire::http::Proxy-Auto-Detect \"/bin/x\";",
            "Acquire::http::Proxy \"http://p/\nx\";",
            "Acquire::http::Proxy file:///etc/shadow;",
        ] {
            assert_eq!(of(&[nonsense]), [""; 0], "{nonsense}");
        }
    }

    #[test]
    fn names_that_apt_reads() {
        for (name, read) in [
            ("10", true),
            ("20proxy.conf", true),
            ("30.disabled", false),
            ("40~", false),
        ] {
            assert_eq!(is_read(name), read, "{name}");
        }
    }
}
