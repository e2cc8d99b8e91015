//! Records in JSON, as single calls and collections send them.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::schema::{Kind, Object, Schema};
use super::value::RowError;
use super::write::{Given, Input};

/// A record as it was sent: the text of every member, so that numbers keep all their digits.
pub(crate) type Members = BTreeMap<String, Box<RawValue>>;

/// The code for a value of the wrong JSON type; it concerns the whole request.
pub(crate) const PARSER_ERROR: &str = "JSON_PARSER_ERROR";

/// The object a record of a collection says it is of.
pub(crate) fn object_of(schema: &Schema, record: &Members) -> Option<usize> {
    #[derive(serde::Deserialize)]
    struct Attributes {
        r#type: String,
    }
    let attributes: Attributes = serde_json::from_str(record.get("attributes")?.get()).ok()?;
    schema.object(&attributes.r#type)
}

/// Reads a record; `key` is the key field of an upsert.
pub(crate) fn read(
    schema: &Schema,
    object: usize,
    record: &Members,
    key: Option<usize>,
) -> Result<Input<'static>, RowError> {
    let mut input = Input::default();
    for (name, raw) in record.iter().filter(|(name, _)| *name != "attributes") {
        member(schema, object, name, raw.get(), key, &mut input)?;
    }
    Ok(input)
}

fn member(
    schema: &Schema,
    object: usize,
    name: &str,
    raw: &str,
    key: Option<usize>,
    input: &mut Input<'static>,
) -> Result<(), RowError> {
    let definition = &schema.objects[object];
    if raw.starts_with('{') {
        let (via, given) = parent(schema, definition, name, raw)?;
        input.sets.push((via, given));
        return Ok(());
    }
    let at = definition.field(name).ok_or_else(|| unknown(definition, name))?;
    let kind = &definition.fields[at].kind;
    match scalar(kind, raw)? {
        Given::Text(text) if *kind == Kind::Id => input.id = Some(text),
        Given::Text(text) if key == Some(at) => input.key = Some(text),
        _ if *kind == Kind::Id => {}
        given => input.sets.push((at, given)),
    }
    Ok(())
}

fn unknown(object: &Object, name: &str) -> RowError {
    RowError::new("INVALID_FIELD", format!("No such column '{name}' on sobject of type {}", object.name), &[])
}

/// `"Account__r": {"Customer_Key__c": "…"}`
fn parent(
    schema: &Schema,
    object: &Object,
    name: &str,
    raw: &str,
) -> Result<(usize, Given<'static>), RowError> {
    let via = object.relationship(name).ok_or_else(|| unknown(object, name))?;
    let members: Members = serde_json::from_str(raw).map_err(|cause| parser_error(&cause.to_string()))?;
    let targets = object.fields[via].targets();
    let target = if targets.len() > 1 { object_of(schema, &members) } else { schema.object(&targets[0]) };
    let target = target.ok_or_else(|| unknown(object, name))?;
    let mut keys = members.iter().filter(|(name, _)| *name != "attributes");
    let (Some((key, raw)), None) = (keys.next(), keys.next()) else {
        return Err(parser_error("a relationship takes exactly one key field"));
    };
    let definition = &schema.objects[target];
    let field = definition.field(key).filter(|at| definition.fields[*at].is_match_field());
    let field = field.ok_or_else(|| unknown(definition, key))?;
    match scalar(&definition.fields[field].kind, raw.get())? {
        Given::Text(key) => Ok((via, Given::Parent { object: target, field, key })),
        other => Ok((via, other)),
    }
}

/// A JSON value as field text: `null` and the empty text clear a field.
fn scalar(kind: &Kind, raw: &str) -> Result<Given<'static>, RowError> {
    let wrong = |found: &str| {
        parser_error(&format!("Cannot deserialize instance of {} from {found} value", kind.name()))
    };
    match raw.as_bytes().first() {
        Some(b'n') => Ok(Given::Null),
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(|cause| parser_error(&cause.to_string()))?;
            Ok(if text.is_empty() { Given::Null } else { Given::Text(text.into()) })
        }
        Some(b't' | b'f') if *kind == Kind::Boolean => Ok(Given::Text(raw.to_owned().into())),
        Some(b't' | b'f') => Err(wrong("VALUE_BOOLEAN")),
        Some(b'[') => Err(wrong("START_ARRAY")),
        _ if kind.decimal().is_some() || *kind == Kind::Int => Ok(Given::Text(raw.to_owned().into())),
        _ => Err(wrong("VALUE_NUMBER")),
    }
}

fn parser_error(message: &str) -> RowError {
    RowError::new(PARSER_ERROR, message, &[])
}
