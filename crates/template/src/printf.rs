//! `print`, `println` and `printf`, as Go's `fmt` has them.

use crate::{Value, numbers};

/// No column is wider: a format is what a user wrote, and no way to fill the memory.
const WIDEST: usize = 10_000;

/// All of them, with a blank between two that are no texts.
pub(crate) fn print(arguments: &[Value]) -> String {
    let mut text = String::new();
    for (at, argument) in arguments.iter().enumerate() {
        if at > 0 && !argument.is_text() && !arguments[at - 1].is_text() {
            text.push(' ');
        }
        text.push_str(&argument.plain());
    }
    text
}

/// All of them with blanks between, and a line's end.
pub(crate) fn print_line(arguments: &[Value]) -> String {
    let texts: Vec<String> = arguments.iter().map(Value::plain).collect();
    format!("{}\n", texts.join(" "))
}

/// How a value is to be written.
#[derive(Debug, Default, Clone)]
struct Style {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Fills a format; what is wrong with it is told in the text.
pub(crate) fn printf(format: &str, arguments: &[Value]) -> String {
    let mut text = String::new();
    let mut rest = format.chars().peekable();
    let mut next = 0;
    while let Some(character) = rest.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let mut style = Style::default();
        while let Some(flag) = rest.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => style.minus = true,
                '+' => style.plus = true,
                '#' => style.sharp = true,
                ' ' => style.space = true,
                _ => style.zero = true,
            }
        }
        if rest.next_if_eq(&'*').is_some() {
            match star(arguments, &mut next) {
                Some(width) => {
                    style.minus |= width < 0;
                    style.width = Some(clamp(width));
                }
                None => text.push_str("%!(BADWIDTH)"),
            }
        } else {
            style.width = digits(&mut rest);
        }
        if rest.next_if_eq(&'.').is_some() {
            style.precision = if rest.next_if_eq(&'*').is_some() {
                let precision = star(arguments, &mut next);
                if precision.is_none() {
                    text.push_str("%!(BADPREC)");
                }
                precision.map(clamp)
            } else {
                Some(digits(&mut rest).unwrap_or(0))
            };
        }
        match rest.next() {
            None => text.push_str("%!(NOVERB)"),
            Some('%') => text.push('%'),
            Some(verb) => match arguments.get(next) {
                None => text.push_str(&format!("%!{verb}(MISSING)")),
                Some(argument) => {
                    next += 1;
                    text.push_str(&formatted(argument, verb, &style));
                }
            },
        }
    }
    if next < arguments.len() {
        let extra: Vec<String> = arguments[next..]
            .iter()
            .map(|value| match value {
                Value::Missing | Value::Nil => "<nil>".to_owned(),
                value => format!("{}={}", value.type_name(), value.plain()),
            })
            .collect();
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

fn star(arguments: &[Value], next: &mut usize) -> Option<i64> {
    let value = arguments.get(*next)?;
    *next += 1;
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn clamp(number: i64) -> usize {
    usize::try_from(number.unsigned_abs()).map_or(WIDEST, |number| number.min(WIDEST))
}

fn digits(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number: Option<usize> = None;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        number = Some((number.unwrap_or(0) * 10 + digit).min(WIDEST));
    }
    number
}

fn bad(value: &Value, verb: char) -> String {
    match value {
        Value::Missing | Value::Nil => format!("%!{verb}(<nil>)"),
        value => format!("%!{verb}({}={})", value.type_name(), value.plain()),
    }
}

fn formatted(value: &Value, verb: char, style: &Style) -> String {
    match verb {
        'T' => return pad(value.type_name().to_owned(), style, false),
        'v' if !matches!(
            value,
            Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Number(_)
        ) =>
        {
            let text = if style.plus {
                value.with_names()
            } else {
                value.plain()
            };
            return pad(text, style, false);
        }
        _ => {}
    }
    match value {
        Value::Text(text) | Value::Number(text) => {
            texts(text, verb, style).unwrap_or_else(|| bad(value, verb))
        }
        Value::Int(number) => whole(*number, verb, style).unwrap_or_else(|| bad(value, verb)),
        Value::Float(number) => float(*number, verb, style).unwrap_or_else(|| bad(value, verb)),
        Value::Bool(_) if verb == 't' => pad(value.plain(), style, false),
        Value::NoList => "[]".to_owned(),
        Value::NoMap => "map[]".to_owned(),
        Value::List(items) => {
            let inner: Vec<String> = items.iter().map(|item| formatted(item, verb, style)).collect();
            format!("[{}]", inner.join(" "))
        }
        Value::Map(fields) => {
            let inner: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    let name = formatted(&Value::Text(name.clone()), verb, style);
                    format!("{name}:{}", formatted(value, verb, style))
                })
                .collect();
            format!("map[{}]", inner.join(" "))
        }
        _ => bad(value, verb),
    }
}

fn texts(text: &str, verb: char, style: &Style) -> Option<String> {
    let cut: String = match style.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    };
    let text = match verb {
        's' => cut,
        'v' if style.sharp => format!("{cut:?}"),
        'v' => cut,
        'q' if style.sharp && !cut.contains('`') => format!("`{cut}`"),
        'q' => quoted(&cut),
        'x' => cut.bytes().map(|byte| format!("{byte:02x}")).collect(),
        'X' => cut.bytes().map(|byte| format!("{byte:02X}")).collect(),
        _ => return None,
    };
    Some(pad(text, style, false))
}

/// A text in quotes, with Go's escapes.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(control)));
            }
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn whole(number: i64, verb: char, style: &Style) -> Option<String> {
    let size = number.unsigned_abs();
    let code = || {
        u32::try_from(number)
            .ok()
            .and_then(char::from_u32)
            .unwrap_or('\u{fffd}')
    };
    let (prefix, mut digits) = match verb {
        'd' | 'v' => ("", size.to_string()),
        'b' => (if style.sharp { "0b" } else { "" }, format!("{size:b}")),
        'o' => (if style.sharp { "0" } else { "" }, format!("{size:o}")),
        'O' => ("0o", format!("{size:o}")),
        'x' => (if style.sharp { "0x" } else { "" }, format!("{size:x}")),
        'X' => (if style.sharp { "0X" } else { "" }, format!("{size:X}")),
        'c' => return Some(pad(code().to_string(), style, false)),
        'q' => return Some(pad(format!("'{}'", code().escape_debug()), style, false)),
        'U' => return Some(pad(format!("U+{size:04X}"), style, false)),
        _ => return None,
    };
    let zeros = style
        .precision
        .map_or(0, |least| least.saturating_sub(digits.len()));
    digits.insert_str(0, &"0".repeat(zeros));
    Some(signed(
        number < 0,
        &format!("{prefix}{digits}"),
        style,
        style.precision.is_none(),
    ))
}

fn float(number: f64, verb: char, style: &Style) -> Option<String> {
    let size = number.abs();
    let digits = style.precision;
    let text = match verb {
        'f' | 'F' => numbers::fixed(size, digits.unwrap_or(6)),
        'e' => numbers::exponential(size, digits.unwrap_or(6)),
        'E' => numbers::exponential(size, digits.unwrap_or(6)).to_uppercase(),
        'g' | 'v' => digits.map_or_else(
            || numbers::shortest(size),
            |digits| numbers::general(size, digits),
        ),
        'G' => digits
            .map_or_else(
                || numbers::shortest(size),
                |digits| numbers::general(size, digits),
            )
            .to_uppercase(),
        _ => return None,
    };
    Some(signed(
        number.is_sign_negative(),
        text.trim_start_matches('+'),
        style,
        number.is_finite(),
    ))
}

/// A number with its sign, zeros before its digits where they are wanted.
fn signed(negative: bool, digits: &str, style: &Style, zeros: bool) -> String {
    let sign = match (negative, style.plus, style.space) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    if style.zero && zeros && !style.minus {
        let width = style.width.unwrap_or(0).saturating_sub(sign.len());
        return format!("{sign}{digits:0>width$}");
    }
    pad(format!("{sign}{digits}"), style, true)
}

fn pad(text: String, style: &Style, is_number: bool) -> String {
    let width = style.width.unwrap_or(0);
    if style.minus {
        format!("{text:<width$}")
    } else if style.zero && !is_number {
        format!("{text:0>width$}")
    } else {
        format!("{text:>width$}")
    }
}
