//! The CSV files of COPY INTO, with the options that decide how NULL and the empty string are told apart.
//!
//! <https://docs.snowflake.com/en/sql-reference/sql/create-file-format>

use sqlparser::ast::helpers::key_value_options::{KeyValueOption, KeyValueOptionKind, KeyValueOptions};

use super::error::SqlError;
use super::kind::Kind;

/// A file format of type CSV.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub(crate) gzip: bool,
    delimiter: char,
    quote: Option<char>,
    escape: Option<char>,
    null_if: Vec<String>,
    empty_is_null: bool,
    pub(crate) skip_header: usize,
}

/// A field as it was read: whether it was enclosed decides if it can be NULL.
type Field = (String, bool);

impl Format {
    pub(crate) fn read(options: &KeyValueOptions) -> Result<Self, SqlError> {
        let mut format = Self {
            gzip: true,
            delimiter: ',',
            quote: None,
            escape: Some('\\'),
            null_if: vec!["\\N".to_owned()],
            empty_is_null: true,
            skip_header: 0,
        };
        for option in &options.options {
            format.set(option)?;
        }
        Ok(format)
    }

    fn set(&mut self, option: &KeyValueOption) -> Result<(), SqlError> {
        let values = values(option);
        let first = values.first().cloned().unwrap_or_default();
        match option.option_name.to_uppercase().as_str() {
            "TYPE" if first.eq_ignore_ascii_case("CSV") => {}
            "COMPRESSION" => self.gzip = !first.eq_ignore_ascii_case("NONE"),
            "FIELD_DELIMITER" => self.delimiter = character(&first).unwrap_or(','),
            "FIELD_OPTIONALLY_ENCLOSED_BY" => self.quote = character(&first),
            "ESCAPE_UNENCLOSED_FIELD" => self.escape = character(&first),
            "NULL_IF" => self.null_if = values,
            "EMPTY_FIELD_AS_NULL" => self.empty_is_null = is_true(&first),
            "SKIP_HEADER" => self.skip_header = first.parse().unwrap_or_default(),
            _ => return Err(SqlError::unsupported(format!("FILE_FORMAT option {option}"))),
        }
        Ok(())
    }

    /// Appends a line.
    pub(crate) fn write<'c>(&self, out: &mut String, row: impl Iterator<Item = (Option<&'c str>, Kind)>) {
        for (i, (cell, kind)) in row.enumerate() {
            if i > 0 {
                out.push(self.delimiter);
            }
            match (cell, self.quote) {
                (None, _) => out.push_str(self.null_if.first().map_or("", String::as_str)),
                (Some(text), Some(quote)) if matches!(kind, Kind::Text(_)) || kind.is_json() => {
                    let doubled = text.replace(quote, &format!("{quote}{quote}"));
                    out.push(quote);
                    out.push_str(&doubled);
                    out.push(quote);
                }
                (Some(text), _) => self.write_bare(out, text),
            }
        }
        out.push('\n');
    }

    fn write_bare(&self, out: &mut String, text: &str) {
        for c in text.chars() {
            if let Some(escape) = self.escape
                && (c == escape || c == self.delimiter || c == '\n')
            {
                out.push(escape);
            }
            out.push(c);
        }
    }

    /// The rows of a file, `None` for NULL.
    pub(crate) fn rows(&self, text: &str) -> Vec<Vec<Option<String>>> {
        let cells = |row: Vec<Field>| row.into_iter().map(|field| self.cell(field)).collect();
        self.fields(text).into_iter().skip(self.skip_header).map(cells).collect()
    }

    fn cell(&self, (text, enclosed): Field) -> Option<String> {
        let null = (text.is_empty() && !enclosed && self.empty_is_null) || self.null_if.contains(&text);
        (!null).then_some(text)
    }

    fn fields(&self, text: &str) -> Vec<Vec<Field>> {
        let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), Field::default());
        let mut inside = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if inside {
                match self.quote {
                    Some(quote) if c == quote && chars.peek() == Some(&quote) => {
                        field.0.extend(chars.next());
                    }
                    Some(quote) if c == quote => inside = false,
                    _ => field.0.push(c),
                }
            } else if Some(c) == self.quote && field.0.is_empty() {
                (inside, field.1) = (true, true);
            } else if c == self.delimiter || c == '\n' {
                row.push(std::mem::take(&mut field));
                if c == '\n' {
                    rows.push(std::mem::take(&mut row));
                }
            } else if Some(c) == self.escape && chars.peek().is_some_and(|next| *next != 'N') {
                field.0.extend(chars.next());
            } else {
                field.0.push(c);
            }
        }
        if !row.is_empty() || field != Field::default() {
            row.push(field);
            rows.push(row);
        }
        rows
    }
}

/// The values of an option as texts.
pub(crate) fn values(option: &KeyValueOption) -> Vec<String> {
    let text = |value: &sqlparser::ast::ValueWithSpan| {
        value.value.clone().into_string().unwrap_or_else(|| value.value.to_string())
    };
    match &option.option_value {
        KeyValueOptionKind::Single(value) => vec![text(value)],
        KeyValueOptionKind::Multi(values) => values.iter().map(text).collect(),
        KeyValueOptionKind::KeyValueOptions(_) => Vec::new(),
    }
}

pub(crate) fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("TRUE")
}

/// `NONE` is no character.
fn character(text: &str) -> Option<char> {
    if text.eq_ignore_ascii_case("NONE") { None } else { text.chars().next() }
}
