//! Semi-structured values as Snowflake prints them: JSON with sorted keys and numbers whose digits are kept, but also
//! the bare words `undefined`, `NaN` and `Infinity`, which are not JSON.
//!
//! <https://docs.snowflake.com/en/sql-reference/data-types-semistructured>

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::error::SqlError;

/// What a missing element of an array is printed as.
pub(crate) const UNDEFINED: &str = "undefined";

/// Words that a VARIANT may hold besides JSON.
const WORDS: [&str; 4] = [UNDEFINED, "NaN", "Infinity", "-Infinity"];

/// A value; a leaf is the very token it is printed as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Leaf(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    /// Reads what a VARIANT holds.
    ///
    /// # Errors
    /// 100069 if it is neither JSON nor one of the words, or an object has a key twice.
    pub(crate) fn read(text: &str) -> Result<Self, SqlError> {
        Reader { rest: text, words: true }.whole()
    }

    /// Reads what `PARSE_JSON` takes: no bare words, but an element may be left out of an array.
    ///
    /// # Errors
    /// 100069 as for [`Node::read`].
    pub(crate) fn parse(text: &str) -> Result<Self, SqlError> {
        Reader { rest: text, words: false }.whole()
    }

    /// Indented by two spaces.
    pub(crate) fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    /// On one line.
    pub(crate) fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// The same as JSON that any parser takes: words become null.
    pub(crate) fn strict(self) -> Self {
        match self {
            Self::Leaf(token) if WORDS.contains(&token.as_str()) => Self::Leaf("null".to_owned()),
            Self::List(items) => Self::List(items.into_iter().map(Self::strict).collect()),
            Self::Map(map) => Self::Map(map.into_iter().map(|(key, node)| (key, node.strict())).collect()),
            leaf => leaf,
        }
    }

    /// A member by name or an element by index; nothing for one that is not there or undefined.
    pub(crate) fn member(&self, key: &str) -> Option<&Self> {
        let found = match self {
            Self::Leaf(_) => None,
            Self::List(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
            Self::Map(map) => map.get(key),
        };
        found.filter(|node| **node != Self::Leaf(UNDEFINED.to_owned()))
    }

    fn write(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Self::Leaf(token) => out.push_str(token),
            Self::List(items) => {
                let items = items.iter().map(|node| (String::new(), node));
                write_all(out, ['[', ']'], items, depth);
            }
            Self::Map(map) => {
                let colon = if depth.is_some() { ": " } else { ":" };
                let items = map.iter().map(|(key, node)| (format!("{}{colon}", token(key)), node));
                write_all(out, ['{', '}'], items, depth);
            }
        }
    }
}

/// A text as a JSON token.
pub(crate) fn token(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a number is finite decides how a double is printed inside a VARIANT: `1.912000000000000e+02`, or a word.
pub(crate) fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{value:.15e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    match power.strip_prefix('-') {
        Some(power) => format!("{digits}e-{power:0>2}"),
        None => format!("{digits}e+{power:0>2}"),
    }
}

fn write_all<'n>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = (String, &'n Node)>,
    depth: Option<usize>,
) {
    let line = |out: &mut String, depth: Option<usize>| {
        if let Some(depth) = depth {
            out.push('\n');
            out.push_str(&"  ".repeat(depth));
        }
    };
    let inner = depth.map(|depth| depth + 1);
    let mut empty = true;
    out.push(open);
    for (head, node) in items {
        if !empty {
            out.push(',');
        }
        empty = false;
        line(out, inner);
        out.push_str(&head);
        node.write(out, inner);
    }
    if !empty {
        line(out, depth);
    }
    out.push(close);
}

struct Reader<'t> {
    rest: &'t str,
    words: bool,
}

impl<'t> Reader<'t> {
    fn whole(mut self) -> Result<Node, SqlError> {
        let node = self.node()?;
        if self.peek().is_some() { Err(self.wrong()) } else { Ok(node) }
    }

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        found
    }

    fn wrong(&self) -> SqlError {
        let near: String = self.rest.chars().take(20).collect();
        SqlError::new("100069", "22P02", format!("Error parsing JSON: unexpected text near '{near}'"))
    }

    fn node(&mut self) -> Result<Node, SqlError> {
        if self.eat('[') {
            return self.list();
        }
        if self.eat('{') {
            return self.map();
        }
        Ok(Node::Leaf(self.leaf()?.to_owned()))
    }

    fn list(&mut self) -> Result<Node, SqlError> {
        let mut items = Vec::new();
        if self.eat(']') {
            return Ok(Node::List(items));
        }
        loop {
            match self.peek() {
                Some(',' | ']') => items.push(Node::Leaf(UNDEFINED.to_owned())),
                _ => items.push(self.node()?),
            }
            if self.eat(']') {
                return Ok(Node::List(items));
            }
            if !self.eat(',') {
                return Err(self.wrong());
            }
        }
    }

    fn map(&mut self) -> Result<Node, SqlError> {
        let mut map = BTreeMap::new();
        if self.eat('}') {
            return Ok(Node::Map(map));
        }
        loop {
            let key: String = serde_json::from_str(self.leaf()?).map_err(|_| self.wrong())?;
            if !self.eat(':') {
                return Err(self.wrong());
            }
            let node = self.node()?;
            if map.insert(key.clone(), node).is_some() {
                let message = format!("Error parsing JSON: duplicate object attribute \"{key}\"");
                return Err(SqlError::new("100069", "22P02", message));
            }
            if self.eat('}') {
                return Ok(Node::Map(map));
            }
            if !self.eat(',') {
                return Err(self.wrong());
            }
        }
    }

    /// A string, a number or a word.
    fn leaf(&mut self) -> Result<&'t str, SqlError> {
        let quoted = self.peek() == Some('"');
        let end = if quoted { end_of_string(self.rest) } else { end_of_word(self.rest) };
        let (token, rest) = end.map_or(("", self.rest), |end| self.rest.split_at(end));
        let fits = serde_json::from_str::<IgnoredAny>(token).is_ok();
        let word = self.words && WORDS.contains(&token);
        if fits || word {
            self.rest = rest;
            return Ok(token);
        }
        Err(self.wrong())
    }
}

fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return Some(at + 1),
            _ => escaped = c == '\\' && !escaped,
        }
    }
    None
}

fn end_of_word(text: &str) -> Option<usize> {
    let end = text.find(|c: char| c.is_whitespace() || "[]{},:\"".contains(c));
    Some(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_digits_kept() {
        let text = r#"{"b":[12345678901234567890.10,{}], "a":1, "c":"x{\"y"}"#;
        let expected =
            "{\n  \"a\": 1,\n  \"b\": [\n    12345678901234567890.10,\n    {}\n  ],\n  \"c\": \"x{\\\"y\"\n}";
        let node = Node::parse(text).unwrap();
        assert_eq!(node.pretty(), expected);
        assert_eq!(Node::read(expected).unwrap(), node);
        assert_eq!(node.compact(), r#"{"a":1,"b":[12345678901234567890.10,{}],"c":"x{\"y"}"#);
    }

    #[test]
    fn words_are_read_but_not_parsed() {
        let node = Node::parse("[1,,3,]").unwrap();
        assert_eq!(node.compact(), "[1,undefined,3,undefined]");
        assert_eq!(node.member("0").map(Node::compact).as_deref(), Some("1"));
        assert_eq!(node.member("1"), None);
        assert_eq!(Node::read("[NaN,-Infinity,undefined]").unwrap().strict().compact(), "[null,null,null]");
        for bad in ["", "{", "[1", "undefined", "[NaN]", "{\"a\":1,\"a\":2}", "{a:1}", "1 2", "\"x", "01"] {
            assert_eq!(Node::parse(bad).unwrap_err().code, "100069", "{bad}");
        }
    }

    #[test]
    fn doubles_have_fifteen_decimals() {
        assert_eq!(double(191.2), "1.912000000000000e+02");
        assert_eq!(double(-0.001), "-1.000000000000000e-03");
        assert_eq!([double(f64::NAN), double(f64::NEG_INFINITY)], ["NaN", "-Infinity"]);
    }
}
