//! Wildcards of one path component, as Go's `filepath.Match` has them, and the patterns of the shell's expansions.

/// Whether a text has wildcards: `*`, `?`, `[` or an escape.
pub fn has_wildcards(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a name without slashes fits a pattern; a pattern that is malformed fits nothing.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    component(&pattern, &name)
}

fn component(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some(_) => name
                .get(here)
                .and_then(|c| one(&pattern[at..], *c))
                .map(|used| at + used),
            None if here == name.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(next), _) => {
                at = next;
                here += 1;
            }
            (None, Some((after, from))) if from < name.len() && name[from] != '/' => {
                star = Some((after, from + 1));
                (at, here) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

/// Whether the first element of a pattern fits a character; gives its length.
pub(crate) fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => (c != '/').then_some(1),
        '[' => class(pattern, c),
        '\\' => (*pattern.get(1)? == c).then_some(2),
        literal => (*literal == c).then_some(1),
    }
}

/// A class such as `[a-z]` or `[^x]`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let mut at = 1;
    let inverted = pattern.get(at) == Some(&'^');
    at += usize::from(inverted);
    let mut inside = false;
    let mut first = true;
    loop {
        if pattern.get(at) == Some(&']') && !first {
            at += 1;
            break;
        }
        first = false;
        let low = letter(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            letter(pattern, &mut at)?
        } else {
            low
        };
        inside |= (low..=high).contains(&c);
    }
    (inside != inverted && c != '/').then_some(at)
}

fn letter(pattern: &[char], at: &mut usize) -> Option<char> {
    let mut c = *pattern.get(*at)?;
    if c == '-' || c == ']' {
        return None;
    }
    if c == '\\' {
        *at += 1;
        c = *pattern.get(*at)?;
    }
    *at += 1;
    Some(c)
}

/// Whether a class has a range such as `z-a`.
pub fn has_reversed_range(pattern: &str) -> bool {
    let chars: Vec<char> = pattern.chars().collect();
    let mut inside = false;
    chars.iter().enumerate().any(|(at, c)| {
        inside = match c {
            '[' => true,
            ']' => false,
            _ => inside,
        };
        let ends = (at.checked_sub(1).and_then(|before| chars.get(before)), chars.get(at + 1));
        inside && *c == '-' && matches!(ends, (Some(low), Some(high)) if !matches!(low, '[' | '^') && *high != ']' && low > high)
    })
}

/// Whether a pattern can be read at all.
pub fn is_well_formed(pattern: &str) -> bool {
    let chars: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '\\' if at + 1 == chars.len() => return false,
            '\\' => at += 2,
            '[' => {
                at += 1;
                if chars.get(at) == Some(&'^') {
                    at += 1;
                }
                let mut first = true;
                loop {
                    if chars.get(at) == Some(&']') && !first {
                        at += 1;
                        break;
                    }
                    first = false;
                    if letter(&chars, &mut at).is_none() {
                        return false;
                    }
                    if chars.get(at) == Some(&'-') {
                        at += 1;
                        if letter(&chars, &mut at).is_none() {
                            return false;
                        }
                    }
                }
            }
            _ => at += 1,
        }
    }
    true
}

/// The length of the shortest or longest beginning of a text that a shell's pattern (`*`, `?`, `\`) fits.
pub(crate) fn prefix(pattern: &[char], text: &[char], greedy: bool) -> Option<usize> {
    let lengths: Vec<usize> = if greedy {
        (0..=text.len()).rev().collect()
    } else {
        (0..=text.len()).collect()
    };
    lengths
        .into_iter()
        .find(|length| shell(pattern, &text[..*length]))
}

/// Whether a shell's pattern fits a whole text; slashes are letters like all others.
pub(crate) fn shell(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some('?') if here < text.len() => Some(at + 1),
            Some('\\') if at + 1 < pattern.len() => {
                (text.get(here) == Some(&pattern[at + 1])).then_some(at + 2)
            }
            Some(literal) => (text.get(here) == Some(literal)).then_some(at + 1),
            None if here == text.len() => return true,
            None => None,
        };
        match (step, star) {
            (Some(next), _) => {
                at = next;
                here += 1;
            }
            (None, Some((after, from))) if from < text.len() => {
                star = Some((after, from + 1));
                (at, here) = (after, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns_as_in_go() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.b", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("[]a]", "]", false),
            ("[", "[", false),
            ("*", "a/b", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!is_well_formed("[a") && !is_well_formed("a\\") && is_well_formed("[^a-z]*"));
    }
}
