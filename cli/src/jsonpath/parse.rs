//! Templates read.

use serde_json::{Value, json};

use super::{Filter, Operator, Part, Step};

/// Bytes of a template, and how far they have been read.
struct Reader<'t> {
    text: &'t str,
}

/// What an action says.
enum Action {
    Path(Vec<Step>),
    Range(Vec<Step>),
    End,
}

pub(super) fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut reader = Reader { text };
    let (parts, ended) = parts(&mut reader)?;
    if ended { Err("not in range, nothing to end".to_owned()) } else { Ok(parts) }
}

/// The parts up to the end, or up to `{end}`.
fn parts(reader: &mut Reader<'_>) -> Result<(Vec<Part>, bool), String> {
    let mut parts = Vec::new();
    loop {
        let text = reader.until(|c| c == '{');
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        if !reader.take("{") {
            return Ok((parts, false));
        }
        match action(reader)? {
            Action::End => return Ok((parts, true)),
            Action::Path(steps) => parts.push(Part::Path(steps)),
            Action::Range(steps) => match self::parts(reader)? {
                (inner, true) => parts.push(Part::Range(steps, inner)),
                (_, false) => return Err("unexpected end of the template, a {range} has no {end}".to_owned()),
            },
        }
    }
}

fn action(reader: &mut Reader<'_>) -> Result<Action, String> {
    reader.blanks();
    let action = match reader.word() {
        "range" => Action::Range(steps(reader)?),
        "end" => Action::End,
        "true" => Action::Path(vec![Step::Literal(json!(true))]),
        "false" => Action::Path(vec![Step::Literal(json!(false))]),
        "" => Action::Path(steps(reader)?),
        word => return Err(format!("unrecognized identifier {word}")),
    };
    reader.blanks();
    if reader.take("}") { Ok(action) } else { Err("unclosed action".to_owned()) }
}

/// Steps up to the closing brace.
fn steps(reader: &mut Reader<'_>) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    loop {
        reader.blanks();
        let Some(next) = reader.peek() else { return Ok(steps) };
        match next {
            '}' => return Ok(steps),
            '$' => {
                reader.advance(1);
                steps.push(Step::Root);
            }
            '@' => reader.advance(1),
            '"' | '\'' => steps.push(Step::Literal(Value::String(quoted(reader)?))),
            '[' if reader.take("[?(") => steps.push(filter(reader)?),
            '[' => steps.push(subscript(reader)?),
            '.' if reader.take("..") => {
                steps.push(Step::Recursive);
                if reader.peek().is_some_and(|c| !is_terminator(c)) {
                    steps.push(field(reader));
                }
            }
            '.' => {
                reader.advance(1);
                // A single dot is the value itself.
                if reader.peek().is_some_and(|c| !is_terminator(c)) {
                    steps.push(field(reader));
                }
            }
            '0'..='9' | '+' | '-' => steps.push(number(reader)?),
            other => return Err(format!("unrecognized character in action: {other:?}")),
        }
    }
}

fn is_terminator(c: char) -> bool {
    matches!(c, '.' | ',' | '[' | ']' | '$' | '@' | '{' | '}' | '(' | ')' | ' ' | '\t' | '\n' | '\r')
}

fn field(reader: &mut Reader<'_>) -> Step {
    let mut name = String::new();
    while let Some(c) = reader.peek().filter(|c| !is_terminator(*c)) {
        reader.advance(c.len_utf8());
        match (c, reader.peek()) {
            ('\\', Some(escaped)) => {
                reader.advance(escaped.len_utf8());
                name.push(escaped);
            }
            _ => name.push(c),
        }
    }
    if name == "*" { Step::Wildcard } else { Step::Field(name) }
}

fn number(reader: &mut Reader<'_>) -> Result<Step, String> {
    let digits = reader.until(|c| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
    let value = match digits.trim_start_matches('+').parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) => json!(digits.parse::<f64>().map_err(|_| format!("cannot parse number {digits}"))?),
    };
    Ok(Step::Literal(value))
}

/// Text in quotes of either kind, with JSON's escapes.
fn quoted(reader: &mut Reader<'_>) -> Result<String, String> {
    let quote = reader.peek().unwrap_or('"');
    reader.advance(1);
    let mut text = String::new();
    loop {
        let Some(c) = reader.peek() else { return Err("unterminated quoted string".to_owned()) };
        reader.advance(c.len_utf8());
        if c == quote {
            return Ok(text);
        }
        let escaped = if c == '\\' { reader.peek() } else { None };
        reader.advance(escaped.map_or(0, char::len_utf8));
        text.push(match escaped {
            None => c,
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some(other) => other,
        });
    }
}

/// What stands between brackets: an index, a slice, a name, or several of them.
fn subscript(reader: &mut Reader<'_>) -> Result<Step, String> {
    reader.take("[");
    let inner = reader.balanced('[', ']').ok_or("unterminated array")?;
    let mut all = split(inner, ',').into_iter().map(|one| element(one.trim())).collect::<Result<Vec<_>, _>>()?;
    match (all.len(), all.pop()) {
        (1, Some(only)) => Ok(only),
        (_, Some(last)) => Ok(Step::Union(all.into_iter().chain([last]).collect())),
        (_, None) => Err("invalid array index".to_owned()),
    }
}

fn element(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if text.starts_with(['\'', '"']) {
        return quoted(&mut Reader { text }).map(Step::Field);
    }
    let invalid = || format!("invalid array index {text}");
    let bounds: Vec<&str> = text.split(':').map(str::trim).collect();
    let bound = |at: usize| match bounds.get(at).copied().unwrap_or_default() {
        "" => Ok(None),
        number => number.parse::<i64>().map(Some).map_err(|_| invalid()),
    };
    match bounds.len() {
        1 => bound(0)?.map(Step::Index).ok_or_else(invalid),
        2 | 3 => Ok(Step::Slice { from: bound(0)?, until: bound(1)?, by: bound(2)? }),
        _ => Err(invalid()),
    }
}

fn filter(reader: &mut Reader<'_>) -> Result<Step, String> {
    const OPERATORS: [(&str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
        ("<=", Operator::LessEqual),
        (">=", Operator::GreaterEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let inner = reader.balanced('(', ')').ok_or("unterminated filter")?;
    if !reader.take("]") {
        return Err("unclosed array expect ]".to_owned());
    }
    let at = outside_quotes(inner, |rest| OPERATORS.iter().any(|(sign, _)| rest.starts_with(sign)));
    let side = |text: &str| {
        let mut side = Reader { text: text.trim() };
        let steps = match side.word() {
            "" => steps(&mut side)?,
            "true" => vec![Step::Literal(json!(true))],
            "false" => vec![Step::Literal(json!(false))],
            word => return Err(format!("unrecognized identifier {word}")),
        };
        if side.text.is_empty() { Ok(steps) } else { Err(format!("unrecognized filter {text}")) }
    };
    let Some(at) = at else { return Ok(Step::Filter(Box::new(Filter { left: side(inner)?, compared: None }))) };
    let (left, rest) = inner.split_at(at);
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, right) = found.ok_or("unrecognized filter operator")?;
    Ok(Step::Filter(Box::new(Filter { left: side(left)?, compared: Some((operator, side(right)?)) })))
}

/// The first place outside quotes at which the rest is like this.
fn outside_quotes(text: &str, is_it: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            None if is_it(&text[at..]) => return Some(at),
            None if matches!(c, '\'' | '"') => quote = Some(c),
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn split(text: &str, by: char) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = outside_quotes(rest, |rest| rest.starts_with(by)) {
        all.push(&rest[..at]);
        rest = &rest[at + by.len_utf8()..];
    }
    all.push(rest);
    all
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<char> {
        self.text.chars().next()
    }

    fn advance(&mut self, bytes: usize) {
        self.text = self.text.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.text.strip_prefix(word);
        self.text = rest.unwrap_or(self.text);
        rest.is_some()
    }

    fn until(&mut self, is_it: impl Fn(char) -> bool) -> &'t str {
        let (head, rest) = self.text.split_at(self.text.find(is_it).unwrap_or(self.text.len()));
        self.text = rest;
        head
    }

    fn blanks(&mut self) {
        self.text = self.text.trim_start();
    }

    /// The letters that come next.
    fn word(&mut self) -> &'t str {
        self.until(|c| !c.is_ascii_alphabetic())
    }

    /// What comes before the bracket that closes one which has been read.
    fn balanced(&mut self, open: char, close: char) -> Option<&'t str> {
        let depth = std::cell::Cell::new(0_usize);
        let end = outside_quotes(self.text, |rest| {
            match rest.chars().next() {
                Some(c) if c == open => depth.set(depth.get() + 1),
                Some(c) if c == close && depth.get() == 0 => return true,
                Some(c) if c == close => depth.set(depth.get() - 1),
                _ => {}
            }
            false
        })?;
        let inner = self.text.get(..end)?;
        self.advance(end + close.len_utf8());
        Some(inner)
    }
}
