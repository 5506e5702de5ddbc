//! One pattern of an ignore file, as BuildKit's pattern matcher reads it.

use crate::glob;

/// A pattern, and whether it takes paths away or keeps them (`!`).
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    /// As it was written, with its `!`.
    pub(crate) text: String,
    pub(crate) exception: bool,
    bare: String,
    tokens: Vec<Token>,
    /// A quick way to the same answer, for the shapes that nearly all patterns have.
    shape: Option<Shape>,
}

/// Patterns that need no search: for one component of a path, which begins so and, where there is an asterisk, ends so.
#[derive(Debug, Clone)]
struct Shape {
    /// `**/name`: any component of the path, not only its first.
    anywhere: bool,
    prefix: String,
    suffix: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One letter.
    Letter(char),
    /// `?` or a class.
    One(Vec<char>),
    /// `*`: no slash.
    Part,
    /// `**/`: any folders, or none.
    Folders,
    /// `**` at the end.
    All,
}

impl Pattern {
    /// Reads a pattern that was cleaned, without its `!`.
    pub(crate) fn new(text: &str, exception: bool, bare: &str) -> Pattern {
        Pattern::of(text, exception, bare, tokens(bare))
    }

    /// A pattern that can't be read, as the name that it is.
    pub(crate) fn literal(text: &str, exception: bool, bare: &str) -> Pattern {
        Pattern::of(text, exception, bare, bare.chars().map(Token::Letter).collect())
    }

    fn of(text: &str, exception: bool, bare: &str, tokens: Vec<Token>) -> Pattern {
        Pattern {
            text: text.to_owned(),
            exception,
            bare: bare.to_owned(),
            shape: shape(bare, &tokens),
            tokens,
        }
    }

    /// Whether it fits a whole path.
    pub(crate) fn fits(&self, path: &str) -> bool {
        match &self.shape {
            Some(shape) => match path.rsplit_once('/') {
                Some((_, last)) => shape.anywhere && shape.fits(last),
                None => shape.fits(path),
            },
            None => self.search(path),
        }
    }

    /// Whether it fits a path, or one of the folders above it.
    pub(crate) fn fits_or_above(&self, path: &str) -> bool {
        match &self.shape {
            Some(shape) if shape.anywhere => path.split('/').any(|part| shape.fits(part)),
            Some(shape) => shape.fits(path.split('/').next().unwrap_or(path)),
            None => {
                let slashes = path.match_indices('/').map(|(at, _)| at);
                slashes.chain([path.len()]).any(|end| self.search(&path[..end]))
            }
        }
    }

    /// Whether it may fit something below a folder.
    pub(crate) fn may_fit_below(&self, folder: &str) -> bool {
        let mut pattern = self.bare.split('/');
        for part in folder.split('/') {
            match pattern.next() {
                // The pattern is the folder itself, or above it.
                None => return true,
                Some(glob) if glob.contains("**") => return true,
                Some(glob) if glob::has_wildcards(glob) => {
                    if !glob::matches(glob, part) {
                        return false;
                    }
                }
                Some(literal) if literal == part => {}
                Some(_) => return false,
            }
        }
        true
    }

    fn search(&self, path: &str) -> bool {
        // `**name` fits the end of any path; the pattern matcher has it so.
        if let [Token::Folders, rest @ ..] = self.tokens.as_slice()
            && !rest.is_empty()
            && !self.bare.starts_with("**/")
        {
            let letters = rest.iter().map(|token| match token {
                Token::Letter(c) => Some(*c),
                _ => None,
            });
            if let Some(suffix) = letters.collect::<Option<String>>() {
                return path.ends_with(&suffix);
            }
        }
        let path: Vec<char> = path.chars().collect();
        fits(&self.tokens, &path)
    }
}

impl Shape {
    fn fits(&self, part: &str) -> bool {
        match &self.suffix {
            None => part == self.prefix,
            Some(suffix) => {
                part.len() >= self.prefix.len() + suffix.len()
                    && part.starts_with(&self.prefix)
                    && part.ends_with(suffix.as_str())
            }
        }
    }
}

fn shape(bare: &str, tokens: &[Token]) -> Option<Shape> {
    let (anywhere, rest) = match tokens {
        [Token::Folders, rest @ ..] if bare.starts_with("**/") => (true, rest),
        rest => (false, rest),
    };
    let (mut prefix, mut suffix) = (String::new(), None::<String>);
    for token in rest {
        match (token, &mut suffix) {
            (Token::Letter('/'), _) => return None,
            (Token::Letter(c), None) => prefix.push(*c),
            (Token::Letter(c), Some(suffix)) => suffix.push(*c),
            (Token::Part, None) => suffix = Some(String::new()),
            _ => return None,
        }
    }
    (!rest.is_empty()).then_some(Shape {
        anywhere,
        prefix,
        suffix,
    })
}

fn tokens(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '*' if chars.get(at + 1) == Some(&'*') => {
                at += 2;
                if chars.get(at) == Some(&'/') {
                    at += 1;
                }
                found.push(if at == chars.len() {
                    Token::All
                } else {
                    Token::Folders
                });
            }
            '*' => {
                found.push(Token::Part);
                at += 1;
            }
            '?' => {
                found.push(Token::One(vec!['?']));
                at += 1;
            }
            '[' => {
                let mut end = at + 1;
                if chars.get(end) == Some(&'^') {
                    end += 1;
                }
                end += 1;
                while end < chars.len() && chars[end] != ']' {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                let end = (end + 1).min(chars.len());
                found.push(Token::One(chars[at..end].to_vec()));
                at = end;
            }
            '\\' if at + 1 < chars.len() => {
                found.push(Token::Letter(chars[at + 1]));
                at += 2;
            }
            c => {
                found.push(Token::Letter(c));
                at += 1;
            }
        }
    }
    found
}

/// Whether tokens fit a whole path. Each token and place is tried once, so no pattern takes long.
fn fits(tokens: &[Token], path: &[char]) -> bool {
    // Places in the path that the tokens so far lead to.
    let mut here = vec![false; path.len() + 1];
    here[0] = true;
    for token in tokens {
        let mut next = vec![false; path.len() + 1];
        match token {
            Token::Letter(c) => {
                for at in 0..path.len() {
                    next[at + 1] = here[at] && path[at] == *c;
                }
            }
            Token::One(pattern) => {
                for at in 0..path.len() {
                    next[at + 1] = here[at] && path[at] != '/' && glob::one(pattern, path[at]).is_some();
                }
            }
            Token::Part => {
                let mut open = false;
                for at in 0..=path.len() {
                    open |= here[at];
                    next[at] = open;
                    if path.get(at) == Some(&'/') {
                        open = false;
                    }
                }
            }
            Token::Folders => {
                let mut open = false;
                for at in 0..=path.len() {
                    next[at] = here[at] || (open && at > 0 && path[at - 1] == '/');
                    open |= here[at];
                }
            }
            Token::All => {
                let first = here.iter().position(|is| *is).unwrap_or(path.len() + 1);
                next.iter_mut().skip(first).for_each(|is| *is = true);
            }
        }
        here = next;
    }
    here[path.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ignore::Matcher;

    #[test]
    fn quick_ways_lead_to_the_same_answer() {
        for (line, path, expected) in [
            ("*.pyc", "a.pyc", true),
            ("*.pyc", "a/b.pyc", false),
            ("**/*.pyc", "a.pyc", true),
            ("**/*.pyc", "a/b/c.pyc", true),
            ("/build", "build", true),
            ("build", "build/x/y", true),
            ("build", "a/build", false),
            ("build/", "build/x", true),
            ("**/build", "a/build/x", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**", "x", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c].txt", "b.txt", true),
            ("[^a-c].txt", "b.txt", false),
            ("[", "[", true),
            ("\\*.txt", "*.txt", true),
            ("\\*.txt", "a.txt", false),
            ("README.md", "readme.md", false),
            ("./x/../y", "y", true),
            ("*/temp*", "some/temporary.txt", true),
            ("*/*/temp*", "a/b/temp", true),
            ("a.c", "abc", false),
            ("**build", "a/rebuild", true),
        ] {
            let matcher = Matcher::lenient(crate::ignore::patterns(line));
            let pattern = &matcher.patterns()[0];
            assert_eq!(pattern.fits_or_above(path), expected, "{line} on {path}");
            let slow = Pattern {
                shape: None,
                ..pattern.clone()
            };
            assert_eq!(
                slow.fits_or_above(path),
                expected,
                "{line} on {path}, the long way"
            );
            assert_eq!(
                slow.fits(path),
                pattern.fits(path),
                "{line} on the whole of {path}"
            );
        }
    }

    #[test]
    fn what_may_come_below() {
        for (line, folder, expected) in [
            ("build/keep.txt", "build", true),
            ("build/keep.txt", "src", false),
            ("**/keep.txt", "build/x", true),
            ("*.md", "docs", false),
            ("*/x", "docs", true),
            ("docs", "docs/a", true),
        ] {
            let pattern = Pattern::new(line, false, line);
            assert_eq!(pattern.may_fit_below(folder), expected, "{line} below {folder}");
        }
    }
}
