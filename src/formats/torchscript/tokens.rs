//! The code of a module as tokens: indentation is two of them, `Indent` and `Dedent`, as in Python.
//!
//! What libtorch writes: <https://github.com/pytorch/pytorch/blob/main/torch/csrc/jit/serialization/python_print.cpp>.

use std::rc::Rc;

use crate::formats::problems::MAX_NAME;

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Name(Rc<str>),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    /// Brackets, `=`, `:` and the like; `->` is `>`.
    Sign(char),
    Newline,
    Indent,
    Dedent,
}

/// The tokens of a file, each with its line from 1.
///
/// # Errors
/// The line, and what is wrong with it.
pub fn tokens(source: &str) -> Result<Vec<(Token, usize)>, String> {
    let mut lexer = Lexer { tokens: Vec::new(), depth: 0, indents: vec![0] };
    for (index, line) in source.lines().enumerate() {
        lexer.line(line, index + 1).map_err(|reason| format!("line {}: {reason}", index + 1))?;
    }
    let end = source.lines().count();
    for _ in 1..lexer.indents.len() {
        lexer.tokens.push((Token::Dedent, end));
    }
    Ok(lexer.tokens)
}

struct Lexer {
    tokens: Vec<(Token, usize)>,
    /// Brackets that are open: within them, line ends mean nothing.
    depth: usize,
    indents: Vec<usize>,
}

impl Lexer {
    fn line(&mut self, line: &str, number: usize) -> Result<(), String> {
        let mut rest = line.trim_start_matches(' ');
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(());
        }
        if self.depth == 0 {
            self.indent(line.len() - rest.len(), number)?;
        }
        loop {
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else { break };
            if first == '#' {
                break;
            }
            let (token, length) = token(rest, first)?;
            match token {
                Token::Sign('(' | '[' | '{') => self.depth += 1,
                Token::Sign(')' | ']' | '}') => self.depth = self.depth.checked_sub(1).ok_or("a bracket too many")?,
                _ => {}
            }
            self.tokens.push((token, number));
            rest = &rest[length..];
        }
        if self.depth == 0 {
            self.tokens.push((Token::Newline, number));
        }
        Ok(())
    }

    fn indent(&mut self, width: usize, number: usize) -> Result<(), String> {
        if self.indents.last().is_some_and(|own| width > *own) {
            self.indents.push(width);
            self.tokens.push((Token::Indent, number));
        }
        while self.indents.last().is_some_and(|own| width < *own) {
            self.indents.pop();
            self.tokens.push((Token::Dedent, number));
        }
        if self.indents.last() == Some(&width) { Ok(()) } else { Err("its indentation fits no block".into()) }
    }
}

/// The first token, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(Token, usize), String> {
    match first {
        'a'..='z' | 'A'..='Z' | '_' => {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            if length > MAX_NAME {
                return Err(format!("a name has {length} bytes, more than {MAX_NAME}"));
            }
            Ok((Token::Name(rest[..length].into()), length))
        }
        '0'..='9' => number(rest),
        '"' | '\'' => text(rest, first),
        '-' if rest.starts_with("->") => Ok((Token::Sign('>'), 2)),
        '(' | ')' | '[' | ']' | '{' | '}' | ',' | ':' | '=' | '.' | '-' => Ok((Token::Sign(first), 1)),
        other => Err(format!("it has the character {other:?}")),
    }
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let bytes = rest.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        let sign = matches!(byte, b'+' | b'-') && length > 0 && matches!(bytes[length - 1], b'e' | b'E');
        if !(byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E') || sign) {
            break;
        }
        length += 1;
    }
    let digits = &rest[..length];
    let wrong = |_| format!("{digits} is no number");
    let token = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Token::Int(digits.parse().map_err(|_| format!("{digits} has more than 64 bits"))?)
    } else {
        Token::Float(digits.parse().map_err(wrong)?)
    };
    Ok((token, length))
}

/// A literal in quotes; escapes are `\n` and its like, `\ooo` and `\xhh`.
fn text(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((Token::Text(value.into()), at + 1));
        }
        if c != '\\' {
            value.push(c);
            continue;
        }
        let (_, escape) = chars.next().ok_or("its text has no end")?;
        let digits = match escape {
            'x' => 2,
            '0'..='7' => 3,
            _ => {
                value.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
                continue;
            }
        };
        let (radix, from) = if escape == 'x' { (16, at + 2) } else { (8, at + 1) };
        let code = rest.get(from..from + digits).and_then(|digits| u8::from_str_radix(digits, radix).ok());
        value.push(char::from(code.ok_or("its text has a wrong escape")?));
        let read = if escape == 'x' { digits } else { digits - 1 };
        for _ in 0..read {
            chars.next();
        }
    }
    Err("its text has no end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<Token> {
        tokens(source).unwrap().into_iter().map(|(token, _)| token).collect()
    }

    #[test]
    fn blocks_numbers_and_text_are_told_apart() {
        let found = words("def f(x,\n    y) -> int:\n  return -1.5e-05\n# a comment\nz = \"a\\\"\\x41\\102\"\n");
        assert!(found.contains(&Token::Float(1.5e-5)) && found.contains(&Token::Sign('>')));
        assert!(found.contains(&Token::Text("a\"AB".into())));
        let count = |token: Token| found.iter().filter(|own| **own == token).count();
        assert_eq!((count(Token::Newline), count(Token::Indent), count(Token::Dedent)), (3, 1, 1));
        assert_eq!(words("7"), [Token::Int(7), Token::Newline]);
    }

    #[test]
    fn what_is_no_code_is_refused() {
        let long = "a".repeat(MAX_NAME + 1);
        for source in
            [long.as_str(), "x = \"open", "a)", "if a:\n    b\n  c", "x = 99999999999999999999", "a $ b", "\"\\x4\""]
        {
            assert!(tokens(source).is_err(), "{source}");
        }
    }
}
