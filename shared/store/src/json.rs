//! JSON whose faults are told by place.
//!
//! The messages of `serde_json` quote the value they object to. A document may hold a secret or a
//! value of a record, so a [`Fault`] says where and what kind, and never what was there.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Why bytes are not the expected document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the value at fault, such as `jobs[2].state`; empty for the whole document.
    pub path: String,
    /// The key that is missing below `path`, when that is the fault.
    pub missing: Option<String>,
    /// Whether the text is not JSON at all.
    pub syntax: bool,
    /// Line and column from 1, when the document was a text.
    pub position: Option<(usize, usize)>,
}

/// Reads a JSON text.
///
/// # Errors
/// A [`Fault`] without any content of the document.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    let document = serde_path_to_error::deserialize(&mut text).map_err(fault)?;
    text.end().map_err(|error| about(String::new(), &error))?;
    Ok(document)
}

/// Reads a JSON value.
///
/// # Errors
/// A [`Fault`] without any content of the value.
pub fn decode_value<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(fault)
}

fn fault(error: serde_path_to_error::Error<serde_json::Error>) -> Fault {
    let path = Some(error.path().to_string()).filter(|path| path != ".").unwrap_or_default();
    about(path, error.inner())
}

fn about(path: String, error: &serde_json::Error) -> Fault {
    Fault {
        path,
        missing: missing_field(error),
        syntax: matches!(error.classify(), Category::Syntax | Category::Eof),
        position: (error.line() > 0).then(|| (error.line(), error.column())),
    }
}

/// The name in serde's fixed message of a missing field. It is a name out of our own types, the only
/// part of such a message that cannot quote the document.
fn missing_field(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let name = text.strip_prefix("missing field `")?.split('`').next()?;
    Some(name.to_owned())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.missing, self.path.as_str()) {
            (Some(name), "") => write!(f, "`{name}` is missing")?,
            (Some(name), path) => write!(f, "`{path}.{name}` is missing")?,
            (None, _) if self.syntax => f.write_str("it is not JSON")?,
            (None, "") => f.write_str("it is not an object of the expected form")?,
            (None, path) => write!(f, "`{path}` is not what is expected there")?,
        }
        match self.position {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        #[expect(dead_code)]
        number: u32,
    }

    #[test]
    fn a_fault_tells_the_place_and_never_the_content() {
        let cases = [
            ("planted", "it is not JSON (line 1, column 1)"),
            ("{", "it is not JSON (line 1, column 1)"),
            (r#"{"inner":[]} planted"#, "it is not JSON (line 1, column 14)"),
            (r#""planted""#, "it is not an object of the expected form (line 1, column 9)"),
            ("{}", "`inner` is missing (line 1, column 2)"),
            (r#"{"inner":[{}]}"#, "`inner[0].number` is missing (line 1, column 12)"),
            (
                r#"{"inner":[{"number":"planted"}]}"#,
                "`inner[0].number` is not what is expected there (line 1, column 29)",
            ),
            (r#"{"other":"planted"}"#, "`other` is not what is expected there (line 1, column 8)"),
        ];
        for (text, expected) in cases {
            let fault = decode::<Outer>(text.as_bytes()).unwrap_err();
            assert_eq!(fault.to_string(), expected, "{text}");
            assert!(!format!("{fault:?}").contains("planted"), "{text}");
        }
    }

    #[test]
    fn a_value_has_no_position() {
        let fault = decode_value::<Outer>(serde_json::json!({"inner": [{"number": -1}]})).unwrap_err();
        assert_eq!(fault.to_string(), "`inner[0].number` is not what is expected there");
    }
}
