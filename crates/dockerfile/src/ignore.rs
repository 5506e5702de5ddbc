//! `.dockerignore` and `--exclude`: which paths a list of patterns takes away, as BuildKit's pattern matcher has it.

use std::fmt;

use crate::glob;
use crate::ignore_pattern::Pattern;

/// What is known of a folder when its entries are looked at.
#[derive(Debug, Clone, Default)]
pub struct Above {
    matched: Vec<bool>,
}

/// A list of patterns; the last that fits decides.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

/// A pattern that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pattern.as_str() {
            "!" => write!(f, "illegal exclusion pattern: {:?}", self.pattern),
            pattern => write!(f, "syntax error in pattern: {pattern:?}"),
        }
    }
}

impl std::error::Error for PatternError {}

/// The patterns of an ignore file (Dockerfile reference, ".dockerignore file").
pub fn patterns(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(pattern).collect()
}

/// Says which of these patterns can't be read.
///
/// # Errors
/// The first such pattern.
pub fn checked(patterns: &[String]) -> Result<(), PatternError> {
    Matcher::new(patterns).map(drop)
}

/// The pattern of one line, relative to the root and cleaned; none for an empty line.
pub fn pattern(line: &str) -> Option<String> {
    let line = line.trim();
    if line.is_empty() {
        return None;
    }
    let (sign, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    let cleaned = match pattern {
        "" => String::new(),
        pattern => {
            let cleaned = clean(pattern);
            match cleaned.strip_prefix('/') {
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => cleaned,
            }
        }
    };
    Some(format!("{sign}{cleaned}"))
}

/// A path without `.`, `..`, and slashes that say nothing.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !rooted => parts.push(".."),
                _ => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".into(),
        (false, path) => path,
    }
}

impl Matcher {
    /// Reads patterns.
    ///
    /// # Errors
    /// `!` alone, classes that don't end, and ranges that end before they begin.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Matcher, PatternError> {
        let mut matcher = Matcher::default();
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            if let Some((exception, bare)) = bare(text) {
                if text == "!" || !glob::is_well_formed(&bare) || glob::has_reversed_range(&bare) {
                    return Err(PatternError { pattern: text.into() });
                }
                matcher.patterns.push(Pattern::new(text, exception, &bare));
            }
        }
        Ok(matcher)
    }

    /// Reads patterns, and takes those that can't be read for plain names; `!` and `.` alone say nothing.
    pub fn lenient<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Matcher {
        let mut matcher = Matcher::default();
        for pattern in patterns {
            matcher.push_lenient(pattern.as_ref());
        }
        matcher
    }

    /// Adds a pattern to the end, as [`Matcher::lenient`] reads it; whether it says something.
    pub fn push_lenient(&mut self, pattern: &str) -> bool {
        let text = pattern.trim();
        let Some((exception, bare)) = bare(text).filter(|(_, bare)| bare != ".") else {
            return false;
        };
        self.patterns.push(match glob::is_well_formed(&bare) {
            true => Pattern::new(text, exception, &bare),
            false => Pattern::literal(text, exception, &bare),
        });
        true
    }

    #[cfg(test)]
    pub(crate) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// A pattern as it was written, by its place in the list.
    pub fn text(&self, place: usize) -> &str {
        self.patterns.get(place).map_or("", |pattern| &pattern.text)
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether something below a folder that is taken away may be kept.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exception)
    }

    /// Whether an entry is taken away, given what its folder told; the answer for the entries below it, too.
    ///
    /// For entries of the root, `above` is none.
    pub fn check(&self, path: &str, above: Option<&Above>) -> (bool, Above) {
        let (place, above) = self.step(path, above, &|_| true);
        (place.is_some(), above)
    }

    /// The place of the pattern that takes an entry away, given what its folder told.
    fn step(
        &self,
        path: &str,
        above: Option<&Above>,
        counts: &dyn Fn(usize) -> bool,
    ) -> (Option<usize>, Above) {
        let mut taken = None;
        let mut matched = vec![false; self.patterns.len()];
        for (at, pattern) in self.patterns.iter().enumerate() {
            let mut fits = above.is_some_and(|above| above.matched.get(at).copied().unwrap_or(false));
            if !fits {
                // It could change nothing.
                if pattern.exception != taken.is_some() {
                    continue;
                }
                fits = counts(at) && pattern.fits(path);
            }
            matched[at] = fits;
            if fits {
                taken = (!pattern.exception).then_some(at);
            }
        }
        (taken, Above { matched })
    }

    /// The pattern that takes a path away, by itself or one of its folders; none when it stays.
    pub fn taken_by(&self, path: &str) -> Option<&str> {
        self.deciding(path, &|_| true).map(|place| self.text(place))
    }

    /// The same by its place in the list, of those patterns that count for this path.
    pub fn deciding(&self, path: &str, counts: &dyn Fn(usize) -> bool) -> Option<usize> {
        // Nearly all paths meet no pattern at all, and then the folders above need not be asked one by one.
        let may_be_taken = self
            .patterns
            .iter()
            .enumerate()
            .any(|(place, pattern)| !pattern.exception && counts(place) && pattern.fits_or_above(path));
        if !may_be_taken {
            return None;
        }
        let mut above: Option<Above> = None;
        let slashes = path.match_indices('/').map(|(at, _)| at);
        for end in slashes {
            above = Some(self.step(&path[..end], above.as_ref(), counts).1);
        }
        self.step(path, above.as_ref(), counts).0
    }

    /// Whether an exception after a place in the list may keep something below a folder that is taken away.
    pub fn may_keep_below(&self, folder: &str, place: usize) -> bool {
        let mut later = self.patterns.iter().skip(place + 1);
        later.any(|pattern| pattern.exception && pattern.may_fit_below(folder))
    }

    /// Whether an exception names a path, or one of its folders.
    pub fn has_exception_for(&self, path: &str) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.exception);
        exceptions.any(|pattern| pattern.fits_or_above(path))
    }

    /// Whether the last pattern that fits a path, or one of its folders, is an exception.
    pub fn is_asked_for(&self, path: &str) -> bool {
        let mut last = self.patterns.iter().rev();
        last.find(|pattern| pattern.fits_or_above(path))
            .is_some_and(|pattern| pattern.exception)
    }
}

/// Whether a pattern is an exception, and the pattern itself, cleaned; none where nothing is left.
fn bare(text: &str) -> Option<(bool, String)> {
    let (exception, rest) = match text.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    (!text.is_empty()).then(|| (exception, clean(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(patterns: &[&str], path: &str) -> bool {
        let matcher = Matcher::new(patterns).unwrap();
        let mut above: Option<Above> = None;
        let mut whole = String::new();
        let mut last = false;
        for part in path.split('/') {
            if !whole.is_empty() {
                whole.push('/');
            }
            whole.push_str(part);
            let (taken, next) = matcher.check(&whole, above.as_ref());
            last = taken;
            above = Some(next);
        }
        assert_eq!(matcher.taken_by(path).is_some(), last, "{patterns:?} {path}");
        last
    }

    #[test]
    fn patterns_as_the_pattern_matcher_has_them() {
        for (patterns, path, expected) in [
            (&["**"][..], "file", true),
            (&["**"], "dir/file", true),
            (&["**/"], "dir/file", true),
            (&["**/**"], "dir/file", true),
            (&["dir/**"], "dir/file", true),
            (&["dir/**"], "dir/dir2/file", true),
            (&["**/dir"], "dir/file", true),
            (&["**/dir"], "a/dir/file", true),
            (&["**/dir2/*"], "dir/dir2/file", true),
            (&["**/dir2/*"], "dir/dir2/dir2/file", true),
            (&["**file"], "file", true),
            (&["**file"], "dir/file", true),
            (&["**file"], "dir/myfile", true),
            (&["**/file"], "dir/myfile", false),
            (&["**/file"], "dir/file", true),
            (&["**/file*"], "dir/dir/file.txt", true),
            (&["**/file*txt"], "dir/dir/file.txt", true),
            (&["**/**/*.txt"], "dir/dir/file.txt", true),
            (&["**/**/*.txt2"], "dir/dir/file.txt", false),
            (&["**/*.txt"], "file.txt", true),
            (&["a**/*.txt"], "a/file.txt", true),
            (&["a**/*.txt"], "a/dir/file.txt", true),
            (&["a/*.txt"], "a/dir/file.txt", false),
            (&["a/*.txt"], "a/file.txt", true),
            (&["a[b-d]e"], "ae", false),
            (&["a[b-d]e"], "ace", true),
            (&["a[b-d]e"], "aae", false),
            (&["a[^b-d]e"], "aze", true),
            (&[".*"], ".foo", true),
            (&[".*"], "foo", false),
            (&["abc.def"], "abcZdef", false),
            (&["a\\*b"], "a*b", true),
            (&["a\\*b"], "axb", false),
            (&["foo/bar"], "foo/bar/baz", true),
            (&["foo"], "foobar", false),
            (&["*"], "a/b", true),
            (&["*", "!a"], "a", false),
            (&["*", "!a"], "a/b", false),
            (&["*", "!a/b"], "a/b", false),
            (&["*", "!a/b"], "a/c", true),
            (&["*", "!a", "a/c"], "a/c", true),
            (&["*.md", "!README.md"], "README.md", false),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                "README-secret.md",
                true,
            ),
            (&["!a", "*"], "a", true),
            (&["**/__pycache__"], "a/b/__pycache__/x.pyc", true),
            (&["util/docker/web"], "util/docker/web/foo", true),
            (&["a?c"], "a/c", false),
            (&["/x"], "x", false),
            // A folder's exception, met before the folder was taken away, says nothing of what is in it.
            (&["a/x", "!a"], "a/x", true),
            (&["a/x", "!a/*"], "a/x", false),
        ] {
            assert_eq!(taken(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn ignore_files() {
        let text = "\u{feff}# c\n /a/ \n\n!  b/./c\n  # kept\n/\n../x\n";
        assert_eq!(patterns(text), ["a", "!b/c", "# kept", "/", "../x"]);
        assert!(Matcher::new(["!"]).is_err() && Matcher::new(["[a"]).is_err());
        let evil = "*a".repeat(2000);
        assert!(!Matcher::new([&evil]).unwrap().check(&"b".repeat(2000), None).0);
    }
}
