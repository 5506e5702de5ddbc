//! Text into tokens.

/// A token, where it begins, and whether there was a blank before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) at: usize,
    pub(crate) spaced: bool,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Text(String),
    Open,
    Close,
    /// A word: a keyword, a function, `true`, `false`, `nil`.
    Word(String),
    /// `.Name`, without the dot.
    Field(String),
    Dot,
    /// `$name`, with the dollar.
    Variable(String),
    /// A text in quotes, with them.
    Quoted(String),
    Raw(String),
    Character(String),
    Number(String),
    Pipe,
    LeftParen,
    RightParen,
    Declare,
    Assign,
    Comma,
    Other(char),
    End,
    Fault(String),
}

impl Kind {
    /// As errors show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Kind::End => "EOF".to_owned(),
            Kind::Close => "\"}}\"".to_owned(),
            Kind::Open => "\"{{\"".to_owned(),
            Kind::Word(word) if is_keyword(word) => format!("<{word}>"),
            Kind::Field(name) => format!("\".{name}\""),
            Kind::Word(text)
            | Kind::Variable(text)
            | Kind::Quoted(text)
            | Kind::Raw(text)
            | Kind::Character(text)
            | Kind::Number(text)
            | Kind::Text(text) => format!("{text:?}"),
            Kind::Dot => "<.>".to_owned(),
            Kind::Pipe => "\"|\"".to_owned(),
            Kind::LeftParen => "\"(\"".to_owned(),
            Kind::RightParen => "\")\"".to_owned(),
            Kind::Declare => "\":=\"".to_owned(),
            Kind::Assign => "\"=\"".to_owned(),
            Kind::Comma => "\",\"".to_owned(),
            Kind::Other(character) => format!("{:?}", character.to_string()),
            Kind::Fault(text) => text.clone(),
        }
    }
}

pub(crate) fn is_keyword(word: &str) -> bool {
    [
        "block", "break", "continue", "define", "else", "end", "if", "range", "nil", "template", "with",
    ]
    .contains(&word)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    tokens: Vec<Token>,
}

/// Splits a template; the last token is the end, or a fault.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        at: 0,
        depth: 0,
        tokens: Vec::new(),
    };
    if let Err((at, message)) = lexer.all() {
        lexer.push(Kind::Fault(message), at, false);
    }
    lexer.tokens
}

type Fault = (usize, String);

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn is_letter(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind, at: usize, spaced: bool) {
        self.tokens.push(Token { kind, at, spaced });
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn next(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn all(&mut self) -> Result<(), Fault> {
        let mut trim = false;
        loop {
            let start = self.at;
            let found = self.rest().find("{{");
            let end = found.map_or(self.text.len(), |at| start + at);
            let mut part = &self.text[start..end];
            if trim {
                part = part.trim_start_matches(is_blank);
            }
            let marker = found.is_some() && {
                let mut behind = self.text[end + 2..].chars();
                behind.next() == Some('-') && behind.next().is_some_and(is_blank)
            };
            if marker {
                part = part.trim_end_matches(is_blank);
            }
            if !part.is_empty() {
                self.push(Kind::Text(part.to_owned()), start, false);
            }
            if found.is_none() {
                self.push(Kind::End, self.text.len(), false);
                return Ok(());
            }
            self.at = end + 2 + if marker { 2 } else { 0 };
            trim = if self.rest().starts_with("/*") {
                self.comment(end)?
            } else {
                self.push(Kind::Open, end, false);
                self.action()?
            };
        }
    }

    /// Passes over a comment; true when the blanks behind it go.
    fn comment(&mut self, start: usize) -> Result<bool, Fault> {
        let close = self
            .rest()
            .find("*/")
            .ok_or((start, "unclosed comment".to_owned()))?;
        self.at += close + 2;
        if self.rest().starts_with("}}") {
            self.at += 2;
            return Ok(false);
        }
        let mut behind = self.rest().chars();
        if behind.next().is_some_and(is_blank) && behind.as_str().starts_with("-}}") {
            self.at = self.text.len() - behind.as_str().len() + 3;
            return Ok(true);
        }
        Err((start, "comment ends before closing delimiter".to_owned()))
    }

    /// What is between the braces; true when the blanks behind them go.
    fn action(&mut self) -> Result<bool, Fault> {
        self.depth = 0;
        loop {
            let before = self.at;
            let blanks = self.rest().len() - self.rest().trim_start_matches(is_blank).len();
            self.at += blanks;
            let spaced = blanks > 0;
            let start = self.at;
            let trim = spaced && self.rest().starts_with("-}}");
            if trim || self.rest().starts_with("}}") {
                if self.depth > 0 {
                    return Err((start, "unclosed left paren".to_owned()));
                }
                self.at += if trim { 3 } else { 2 };
                self.push(Kind::Close, start, spaced);
                return Ok(trim);
            }
            let Some(character) = self.next() else {
                return Err((before, "unclosed action".to_owned()));
            };
            let kind = self.token(character)?;
            self.push(kind, start, spaced);
        }
    }

    fn token(&mut self, character: char) -> Result<Kind, Fault> {
        let start = self.at;
        let second = self.rest().chars().nth(1);
        self.at += character.len_utf8();
        Ok(match character {
            '=' => Kind::Assign,
            ':' if second == Some('=') => {
                self.at += 1;
                Kind::Declare
            }
            ':' => return Err((start, "expected :=".to_owned())),
            '|' => Kind::Pipe,
            ',' => Kind::Comma,
            '(' => {
                self.depth += 1;
                Kind::LeftParen
            }
            ')' if self.depth == 0 => return Err((start, "unexpected right paren".to_owned())),
            ')' => {
                self.depth -= 1;
                Kind::RightParen
            }
            '"' => Kind::Quoted(self.quoted('"', start, "unterminated quoted string")?),
            '\'' => Kind::Character(self.quoted('\'', start, "unterminated character constant")?),
            '`' => {
                let length = self
                    .rest()
                    .find('`')
                    .ok_or((start, "unterminated raw quoted string".to_owned()))?;
                self.at += length + 1;
                Kind::Raw(self.text[start..self.at].to_owned())
            }
            '$' => {
                self.word()?;
                Kind::Variable(self.text[start..self.at].to_owned())
            }
            '.' if second.is_some_and(|next| !next.is_ascii_digit()) => {
                self.word()?;
                match &self.text[start + 1..self.at] {
                    "" => Kind::Dot,
                    name => Kind::Field(name.to_owned()),
                }
            }
            '.' | '+' | '-' | '0'..='9' => self.number(start)?,
            letter if is_letter(letter) => {
                self.word()?;
                Kind::Word(self.text[start..self.at].to_owned())
            }
            other if other.is_ascii_graphic() => Kind::Other(other),
            other => {
                return Err((
                    start,
                    format!("unrecognized character in action: {}", code_point(other)),
                ));
            }
        })
    }

    /// Goes behind letters and digits, which something must end.
    fn word(&mut self) -> Result<(), Fault> {
        let length = self.rest().len() - self.rest().trim_start_matches(is_letter).len();
        self.at += length;
        match self.next() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some(next) if is_blank(next) || self.rest().starts_with("}}") => Ok(()),
            // An assignment may stand close: `$x=1`.
            Some('=') => Ok(()),
            Some(next) => Err((self.at, format!("bad character {}", code_point(next)))),
        }
    }

    fn quoted(&mut self, quote: char, start: usize, message: &str) -> Result<String, Fault> {
        let mut escaped = false;
        for (at, character) in self.rest().char_indices() {
            match character {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                _ if character == quote => {
                    self.at += at + 1;
                    return Ok(self.text[start..self.at].to_owned());
                }
                _ => {}
            }
        }
        Err((start, message.to_owned()))
    }

    fn number(&mut self, start: usize) -> Result<Kind, Fault> {
        let mut before = self.text[start..self.at].chars().next().unwrap_or('0');
        while let Some(next) = self.next() {
            let sign = matches!(next, '+' | '-') && matches!(before, 'e' | 'E');
            if !(is_letter(next) || next == '.' || sign) {
                break;
            }
            before = next;
            self.at += next.len_utf8();
        }
        let text = &self.text[start..self.at];
        if crate::numbers::parse(text).is_none() {
            return Err((start, format!("bad number syntax: {text:?}")));
        }
        Ok(Kind::Number(text.to_owned()))
    }
}

fn code_point(character: char) -> String {
    format!("U+{:04X} '{character}'", u32::from(character))
}
