//! Enough SOQL for checks field by field: one object, its parents' fields, conditions joined by `AND`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::vec::IntoIter;

use super::decimal::Decimal;
use super::schema::{Kind, Schema};
use super::value::{csv_form, instant, stamp};
use super::write::Database;

/// A field of the object, or of a parent of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// The reference field that leads to the parent, and the parent's object.
    via: Option<(usize, usize)>,
    field: usize,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Test {
    In(Vec<Option<String>>, bool),
    Order(Vec<Ordering>, String),
    /// `%` stands for any text, `_` for any character.
    Like(String),
}

/// A query that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) object: usize,
    pub(crate) count: bool,
    pub(crate) columns: Vec<Path>,
    conditions: Vec<(Path, Test)>,
    order: Vec<(Path, bool)>,
    limit: Option<usize>,
}

/// Why a query was not understood: code and message.
type Refusal = (&'static str, String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(String),
}

struct Parser<'a> {
    schema: &'a Schema,
    tokens: Peekable<IntoIter<Token>>,
}

/// Reads a query.
pub(crate) fn parse(schema: &Schema, text: &str) -> Result<Query, Refusal> {
    let tokens = tokens(text).ok_or_else(|| malformed("unterminated string"))?;
    Parser { schema, tokens: tokens.into_iter().peekable() }.query()
}

fn malformed(what: &str) -> Refusal {
    ("MALFORMED_QUERY", format!("unexpected token: {what}"))
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => {
                let (text, length) = literal(rest)?;
                tokens.push(Token::Text(text));
                length
            }
            '(' | ')' | ',' | '=' => mark(&mut tokens, &rest[..1]),
            '!' | '<' | '>' => mark(&mut tokens, &rest[..1 + usize::from(rest[1..].starts_with(['=', '>']))]),
            _ => {
                let end = |c: char| c.is_whitespace() || "(),='<>!".contains(c);
                let length = rest.find(end).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
        };
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

fn mark(tokens: &mut Vec<Token>, text: &str) -> usize {
    tokens.push(Token::Mark(text.to_owned()));
    text.len()
}

/// The text of a quoted literal and its length with the quotes.
fn literal(rest: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((text, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

impl Parser<'_> {
    fn query(mut self) -> Result<Query, Refusal> {
        self.keyword("SELECT")?;
        let mut names = Vec::new();
        loop {
            names.push(self.word()?);
            if names == ["COUNT"] || names == ["count"] {
                self.mark("(")?;
                self.mark(")")?;
            }
            if !self.take_mark(",") {
                break;
            }
        }
        self.keyword("FROM")?;
        let name = self.word()?;
        let invalid = || ("INVALID_TYPE", format!("sObject type '{name}' is not supported."));
        let object = self.schema.object(&name).ok_or_else(invalid)?;
        let count = names[0].eq_ignore_ascii_case("count");
        let columns = if count {
            Vec::new()
        } else {
            names.iter().map(|name| self.path(object, name)).collect::<Result<_, _>>()?
        };
        let mut query =
            Query { object, count, columns, conditions: Vec::new(), order: Vec::new(), limit: None };
        self.clauses(&mut query)?;
        Ok(query)
    }

    fn clauses(&mut self, query: &mut Query) -> Result<(), Refusal> {
        if self.take_keyword("WHERE") {
            self.conditions(query)?;
        }
        if self.take_keyword("ORDER") {
            self.keyword("BY")?;
            self.order(query)?;
        }
        if self.take_keyword("LIMIT") {
            let word = self.word()?;
            query.limit = Some(word.parse().map_err(|_| malformed(&word))?);
        }
        match self.tokens.next() {
            None => Ok(()),
            Some(token) => Err(malformed(&format!("{token:?}"))),
        }
    }

    fn conditions(&mut self, query: &mut Query) -> Result<(), Refusal> {
        loop {
            let name = self.word()?;
            let path = self.path(query.object, &name)?;
            let test = self.test(&path)?;
            query.conditions.push((path, test));
            if !self.take_keyword("AND") {
                return Ok(());
            }
        }
    }

    fn test(&mut self, path: &Path) -> Result<Test, Refusal> {
        if self.take_keyword("NOT") {
            self.keyword("IN")?;
            return Ok(Test::In(self.list(path)?, false));
        }
        if self.take_keyword("IN") {
            return Ok(Test::In(self.list(path)?, true));
        }
        if self.take_keyword("LIKE") {
            return Ok(Test::Like(self.literal(path)?.ok_or_else(|| malformed("null"))?));
        }
        let Some(Token::Mark(mark)) = self.tokens.next() else { return Err(malformed("operator")) };
        let value = self.literal(path)?;
        let order = |wanted: &[Ordering], value: Option<String>| {
            let value = value.ok_or_else(|| malformed("null"))?;
            Ok(Test::Order(wanted.to_vec(), value))
        };
        match mark.as_str() {
            "=" => Ok(Test::In(vec![value], true)),
            "!=" | "<>" => Ok(Test::In(vec![value], false)),
            "<" => order(&[Ordering::Less], value),
            "<=" => order(&[Ordering::Less, Ordering::Equal], value),
            ">" => order(&[Ordering::Greater], value),
            ">=" => order(&[Ordering::Greater, Ordering::Equal], value),
            other => Err(malformed(other)),
        }
    }

    fn list(&mut self, path: &Path) -> Result<Vec<Option<String>>, Refusal> {
        self.mark("(")?;
        let mut values = vec![self.literal(path)?];
        while self.take_mark(",") {
            values.push(self.literal(path)?);
        }
        self.mark(")")?;
        Ok(values)
    }

    fn literal(&mut self, path: &Path) -> Result<Option<String>, Refusal> {
        let quoted = path.kind.is_text();
        match self.tokens.next() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => Ok(None),
            Some(Token::Text(text)) if quoted => Ok(Some(comparable(&path.kind, &text).into_owned())),
            Some(Token::Word(word)) if !quoted => Ok(Some(comparable(&path.kind, &word).into_owned())),
            _ => Err(("INVALID_FIELD", "value of filter criterion must be of the field's type".to_owned())),
        }
    }

    fn order(&mut self, query: &mut Query) -> Result<(), Refusal> {
        loop {
            let name = self.word()?;
            let path = self.path(query.object, &name)?;
            let down = self.take_keyword("DESC");
            let _ = !down && self.take_keyword("ASC");
            query.order.push((path, down));
            if !self.take_mark(",") {
                return Ok(());
            }
        }
    }

    fn path(&self, object: usize, name: &str) -> Result<Path, Refusal> {
        let definition = &self.schema.objects[object];
        let unknown =
            || ("INVALID_FIELD", format!("No such column '{name}' on entity '{}'", definition.name));
        let (via, object, field) = match name.split_once('.') {
            None => (None, object, name),
            Some((follow, field)) => {
                let via = definition.relationship(follow).ok_or_else(unknown)?;
                let target =
                    definition.fields[via].targets().iter().find_map(|name| self.schema.object(name));
                let target = target.ok_or_else(unknown)?;
                (Some((via, target)), target, field)
            }
        };
        let field = self.schema.objects[object].field(field).ok_or_else(unknown)?;
        Ok(Path { via, field, kind: self.schema.objects[object].fields[field].kind.clone() })
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.tokens.next() {
            Some(Token::Word(word)) => Ok(word),
            other => Err(malformed(&format!("{other:?}"))),
        }
    }

    fn keyword(&mut self, wanted: &str) -> Result<(), Refusal> {
        if self.take_keyword(wanted) { Ok(()) } else { Err(malformed(&format!("{:?}", self.tokens.peek()))) }
    }

    fn take_keyword(&mut self, wanted: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(wanted)))
            .is_some()
    }

    fn mark(&mut self, wanted: &str) -> Result<(), Refusal> {
        if self.take_mark(wanted) { Ok(()) } else { Err(malformed(&format!("{:?}", self.tokens.peek()))) }
    }

    fn take_mark(&mut self, wanted: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Mark(mark) if mark == wanted)).is_some()
    }
}

/// A value in the form in which equal values are equal.
fn comparable<'a>(kind: &Kind, text: &'a str) -> Cow<'a, str> {
    match kind {
        Kind::Id | Kind::Reference(_) => Cow::Borrowed(text.get(..15).unwrap_or(text)),
        Kind::Datetime => match instant(text) {
            Some(at) => Cow::Owned(stamp(at)),
            None => Cow::Borrowed(text),
        },
        _ if kind.is_text() => Cow::Owned(text.to_lowercase()),
        _ => match Decimal::parse(text) {
            Some(number) => Cow::Owned(number.plain()),
            None => Cow::Owned(text.to_ascii_lowercase()),
        },
    }
}

fn like(text: &str, pattern: &str) -> bool {
    let mut rest = pattern.chars();
    match rest.next() {
        None => text.is_empty(),
        Some('%') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| like(&text[at..], rest.as_str())),
        Some(wanted) => {
            let mut chars = text.chars();
            chars.next().is_some_and(|c| wanted == '_' || c == wanted) && like(chars.as_str(), rest.as_str())
        }
    }
}

fn compare(kind: &Kind, left: &str, right: &str) -> Ordering {
    match (Decimal::parse(left), Decimal::parse(right)) {
        (Some(left), Some(right)) if !kind.is_text() => left.cmp(&right),
        _ => left.cmp(right),
    }
}

impl Query {
    /// The rows that meet the conditions, in the order asked for.
    pub(crate) fn run(&self, database: &Database, deleted_too: bool) -> Vec<u32> {
        let table = &database.tables[self.object];
        let all = || (0..u32::try_from(table.rows.len()).expect("row numbers have 32 bits")).collect();
        let candidates: Vec<u32> = self.candidates(database).unwrap_or_else(all);
        let fits = |row: &u32| {
            (deleted_too || !table.row(*row).deleted)
                && self.conditions.iter().all(|(path, test)| self.meets(database, *row, path, test))
        };
        let mut rows: Vec<u32> = candidates.into_iter().filter(fits).collect();
        for (path, down) in self.order.iter().rev() {
            rows.sort_by(|left, right| {
                let (left, right) = (self.value(database, *left, path), self.value(database, *right, path));
                let order = match (&left, &right) {
                    (Some(left), Some(right)) => compare(&path.kind, left, right),
                    _ => left.is_some().cmp(&right.is_some()),
                };
                if *down { order.reverse() } else { order }
            });
        }
        rows.truncate(self.limit.unwrap_or(usize::MAX));
        rows
    }

    /// Rows from an index, if a condition names values of an indexed field.
    fn candidates(&self, database: &Database) -> Option<Vec<u32>> {
        let table = &database.tables[self.object];
        self.conditions.iter().find_map(|(path, test)| {
            let Test::In(values, true) = test else { return None };
            if path.via.is_some() || values.contains(&None) {
                return None;
            }
            let mut rows: Vec<u32> = match path.kind {
                Kind::Id => values.iter().flatten().filter_map(|id| table.row_of(id)).collect(),
                Kind::Text(_) | Kind::Email if table.is_indexed(path.field) && self.folds(database, path) => {
                    values.iter().flatten().flat_map(|value| table.find(path.field, value)).collect()
                }
                _ => return None,
            };
            rows.sort_unstable();
            rows.dedup();
            Some(rows)
        })
    }

    /// Whether the index of a field compares as queries do.
    fn folds(&self, database: &Database, path: &Path) -> bool {
        !database.schema.objects[self.object].fields[path.field].case_sensitive
    }

    fn meets(&self, database: &Database, row: u32, path: &Path, test: &Test) -> bool {
        let value = self.value(database, row, path);
        let value = value.as_deref().map(|value| comparable(&path.kind, value));
        match test {
            Test::In(values, wanted) => {
                values.iter().any(|known| known.as_deref() == value.as_deref()) == *wanted
            }
            Test::Order(wanted, bound) => {
                value.is_some_and(|value| wanted.contains(&compare(&path.kind, &value, bound)))
            }
            Test::Like(pattern) => value.is_some_and(|value| like(&value, pattern)),
        }
    }

    fn value<'d>(&self, database: &'d Database, row: u32, path: &Path) -> Option<Cow<'d, str>> {
        match path.via {
            None => database.tables[self.object].value(row, path.field),
            Some((via, target)) => {
                let parent = self.parent(database, row, via, target)?;
                database.tables[target].value(parent, path.field)
            }
        }
    }

    fn parent(&self, database: &Database, row: u32, via: usize, target: usize) -> Option<u32> {
        let id = database.tables[self.object].value(row, via)?;
        database.tables[target].row_of(&id)
    }

    /// The columns' names as describe spells them.
    pub(crate) fn names(&self, schema: &Schema) -> Vec<String> {
        let object = &schema.objects[self.object];
        let name = |path: &Path| match path.via {
            None => object.fields[path.field].name.clone(),
            Some((via, target)) => {
                let follow = object.fields[via].relationship.as_deref().unwrap_or_default();
                format!("{follow}.{}", schema.objects[target].fields[path.field].name)
            }
        };
        self.columns.iter().map(name).collect()
    }

    /// The cells of a row for CSV.
    pub(crate) fn cells(&self, database: &Database, row: u32) -> Vec<String> {
        let cell = |path: &Path| {
            self.value(database, row, path)
                .map(|value| csv_form(&path.kind, &value).into_owned())
                .unwrap_or_default()
        };
        self.columns.iter().map(cell).collect()
    }

    /// Writes a row as a JSON object; numbers keep all their digits.
    pub(crate) fn json(&self, database: &Database, row: u32, base: &str, out: &mut String) {
        let schema = &database.schema;
        attributes(database, self.object, row, base, out);
        let mut shown = Vec::new();
        for path in &self.columns {
            match path.via {
                None => member(schema, self.object, path, self.value(database, row, path), out),
                Some((via, _)) if shown.contains(&via) => {}
                Some((via, target)) => {
                    shown.push(via);
                    self.parent_json(database, row, (via, target), base, out);
                }
            }
        }
        out.push('}');
    }

    fn parent_json(
        &self,
        database: &Database,
        row: u32,
        (via, target): (usize, usize),
        base: &str,
        out: &mut String,
    ) {
        let field = &database.schema.objects[self.object].fields[via];
        let _ = write!(out, ",\"{}\":", field.relationship.as_deref().unwrap_or_default());
        let Some(parent) = self.parent(database, row, via, target) else {
            out.push_str("null");
            return;
        };
        attributes(database, target, parent, base, out);
        for path in self.columns.iter().filter(|path| path.via == Some((via, target))) {
            member(&database.schema, target, path, self.value(database, row, path), out);
        }
        out.push('}');
    }

    /// A query for fields of an object; unknown names are refused.
    pub(crate) fn of_fields(schema: &Schema, object: usize, names: &[&str]) -> Result<Self, String> {
        let parser = Parser { schema, tokens: Vec::new().into_iter().peekable() };
        let columns = names.iter().map(|name| parser.path(object, name)).collect::<Result<_, _>>();
        let columns = columns.map_err(|(_, message)| message)?;
        Ok(Self { object, count: false, columns, conditions: Vec::new(), order: Vec::new(), limit: None })
    }
}

/// Opens a JSON object with the record's type and address.
fn attributes(database: &Database, object: usize, row: u32, base: &str, out: &mut String) {
    let (name, id) = (&database.schema.objects[object].name, database.tables[object].id(row));
    let _ = write!(out, "{{\"attributes\":{{\"type\":\"{name}\",\"url\":\"{base}/sobjects/{name}/{id}\"}}");
}

fn member(schema: &Schema, object: usize, path: &Path, value: Option<Cow<'_, str>>, out: &mut String) {
    let _ = write!(out, ",\"{}\":", schema.objects[object].fields[path.field].name);
    let Some(value) = value else {
        out.push_str("null");
        return;
    };
    match &path.kind {
        Kind::Boolean | Kind::Int => out.push_str(&value),
        kind if kind.decimal().is_some() => out.push_str(&csv_form(kind, &value)),
        _ => out.push_str(&serde_json::Value::from(value.as_ref()).to_string()),
    }
}
