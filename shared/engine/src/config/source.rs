//! A YAML file as a tree of places, so that every problem can point at what it is about.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Error, Location, MessageFormatter, Spanned, UserMessageFormatter};

use super::problem::{Place, Problem};
use super::suggest::closest;

/// The text of a file and where its keys and values are.
pub(super) struct Source<'t> {
    text: &'t str,
    root: Spanned<Node>,
}

/// A node of the file; only mappings are told apart.
pub(super) enum Node {
    /// Keys with their places, and the values.
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    /// A scalar, a sequence or nothing.
    Leaf,
}

/// What of a key a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The key itself.
    Key,
    /// The value behind it.
    Value,
}

impl<'t> Source<'t> {
    /// Reads the tree.
    ///
    /// Fails on what is not YAML, and on a key that is written twice.
    pub(super) fn read(text: &'t str) -> Result<Self, Problem> {
        let root = from_yaml(text)?;
        Ok(Self { text, root })
    }

    /// The entries of the file.
    pub(super) fn root(&self) -> &Node {
        &self.root.value
    }

    /// Where a key path is written; for a path that is not there, where its nearest ancestor is.
    pub(super) fn place(&self, path: &[String], part: Part) -> Option<Place> {
        let mut node = &self.root.value;
        let mut found = None;
        for (depth, name) in path.iter().enumerate() {
            let Some((key, value)) = node.entry(name) else { break };
            let last = depth + 1 == path.len();
            let scalar = matches!(value.value, Node::Leaf);
            found =
                Some(if last && scalar && part == Part::Value { value.referenced } else { key.referenced });
            node = &value.value;
        }
        found.and_then(|location| place(self.text, location))
    }
}

impl Node {
    /// The keys and values, none for a leaf.
    pub(super) fn entries(&self) -> &[(Spanned<String>, Spanned<Self>)] {
        match self {
            Self::Map(entries) => entries,
            Self::Leaf => &[],
        }
    }

    fn entry(&self, name: &str) -> Option<&(Spanned<String>, Spanned<Self>)> {
        self.entries().iter().find(|(key, _)| key.value == name)
    }
}

/// Reads YAML into any type; `no`, `on` and the like are text, as YAML 1.2 has it.
pub(super) fn from_yaml<T: de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(text, &error))
}

/// The place of a location, cut to the end of its line.
pub(super) fn place(text: &str, location: Location) -> Option<Place> {
    let (line, column) = (usize::try_from(location.line()).ok()?, usize::try_from(location.column()).ok()?);
    let source = lines(text).nth(line.checked_sub(1)?).unwrap_or_default();
    let rest = source.trim_end().chars().count().saturating_sub(column.checked_sub(1)?);
    let length = usize::try_from(location.span().len()).unwrap_or(1);
    Some(Place { line, column, length: length.min(rest).max(1), text: source.to_owned() })
}

/// The lines as YAML counts them: a carriage return without a line feed ends one too.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn explain(text: &str, error: &Error) -> Problem {
    let error = error.without_snippet();
    let (message, hint) = words(error);
    let mut problem = Problem::new("", message);
    problem.hint = hint;
    problem.place = error.location().and_then(|location| place(text, location));
    problem
}

/// The vendor's error in our words, where ours are better.
fn words(error: &Error) -> (Cow<'_, str>, Option<String>) {
    match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`").into(), Some(one_of(field, expected)))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("`{variant}` is not possible here").into(), Some(one_of(variant, expected)))
        }
        Error::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing").into(), None),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("expected {expected}, found {unexpected}").into(), None)
        }
        Error::InvalidScalar { ty: "u32" | "u64", .. } => ("expected a whole number".into(), None),
        Error::InvalidScalar { ty, .. } => (format!("expected {ty}").into(), None),
        Error::NullIntoString { .. } => ("expected text, found nothing".into(), None),
        Error::DuplicateMappingKey { key: Some(key), .. } => (format!("{key} is written twice").into(), None),
        Error::DuplicateMappingKey { .. } => ("this key is written twice".into(), None),
        Error::MultipleDocuments { .. } => {
            ("a second YAML document begins".into(), Some("write one sync per file".to_owned()))
        }
        Error::Eof { .. } => ("the file is empty".into(), None),
        other => (UserMessageFormatter.format_message(other), None),
    }
}

/// Advice on a wrong word: the one that was meant, or all that are possible.
pub(super) fn one_of(written: &str, possible: &[&str]) -> String {
    match closest(written, possible.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("possible are `{}`", possible.join("`, `")),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key()? {
            entries.push((key, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Node::Leaf)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }
}
