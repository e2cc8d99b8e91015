//! What the columns of an uploaded file stand for.

use super::schema::{Object, Schema};

/// A column of an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) meaning: Meaning,
    /// Whether its cells come back in the results: only if the name is spelt as describe spells it.
    pub(crate) echoed: bool,
}

/// What a column sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The field at this place of the object.
    Field(usize),
    /// The reference at the first place, by the value of a field of another object.
    Parent { via: usize, object: usize, field: usize },
}

impl Meaning {
    /// The field of the object that the column sets.
    pub(crate) fn field(self) -> usize {
        match self {
            Self::Field(field) | Self::Parent { via: field, .. } => field,
        }
    }
}

/// Reads a header; the error is the job's message and names the first bad column only.
pub(crate) fn columns<'a>(
    schema: &Schema,
    object: usize,
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<Column>, String> {
    let mut columns: Vec<Column> = Vec::new();
    for name in names {
        let column = column(schema, object, name)?;
        if columns.iter().any(|known| known.meaning.field() == column.meaning.field()) {
            return Err(format!("InvalidBatch : Field name provided more than once : {name}"));
        }
        columns.push(column);
    }
    Ok(columns)
}

fn column(schema: &Schema, object: usize, name: &str) -> Result<Column, String> {
    let definition = &schema.objects[object];
    match name.split_once('.') {
        Some((path, key)) => relationship(schema, definition, name, path, key),
        None => {
            let field = definition.field(name).ok_or_else(|| unknown(name))?;
            Ok(Column { meaning: Meaning::Field(field), echoed: definition.fields[field].name == name })
        }
    }
}

fn unknown(name: &str) -> String {
    format!("InvalidBatch : Field name not found : {name}")
}

/// `Relationship.Key`, or `Type:Relationship.Key` if and only if the reference has two or more targets.
fn relationship(
    schema: &Schema,
    definition: &Object,
    name: &str,
    path: &str,
    key: &str,
) -> Result<Column, String> {
    let (prefix, follow) = match path.split_once(':') {
        Some((prefix, follow)) => (Some(prefix), follow),
        None => (None, path),
    };
    let lost = || format!("InvalidBatch : Unable to find relationship: {follow}");
    let via = definition.relationship(follow).ok_or_else(lost)?;
    let targets = definition.fields[via].targets();
    let target = match prefix {
        Some(_) if targets.len() < 2 => {
            return Err(format!(
                "InvalidBatch : type is not needed for non polymorphic foreign key references: {follow}"
            ));
        }
        Some(prefix) => targets.iter().find(|target| *target == prefix).ok_or_else(|| {
            format!("InvalidBatch : Invalid type for polymorphic foreign key reference: {prefix}")
        })?,
        None if targets.len() > 1 => {
            return Err(format!(
                "InvalidBatch : type is needed for polymorphic foreign key references: {follow}"
            ));
        }
        None => &targets[0],
    };
    let object = schema.object(target).ok_or_else(lost)?;
    let field = schema.objects[object].field(key).ok_or_else(|| unknown(name))?;
    let by = &schema.objects[object].fields[field];
    if !by.is_match_field() {
        return Err(unknown(name));
    }
    let spelt = definition.fields[via].relationship.as_deref() == Some(follow) && by.name == key;
    Ok(Column { meaning: Meaning::Parent { via, object, field }, echoed: spelt })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(object: &str, name: &str) -> Result<Vec<Column>, String> {
        let schema = Schema::standard();
        columns(&schema, schema.object(object).unwrap(), [name].into_iter())
    }

    #[test]
    fn relationship_columns_follow_the_grammar() {
        for (object, name, expected) in [
            ("Account", "Parent.Customer_Key__c", ""),
            (
                "Account",
                "Account:Parent.Customer_Key__c",
                "InvalidBatch : type is not needed for non polymorphic foreign key references: Parent",
            ),
            (
                "Account",
                "Parent:Account.Customer_Key__c",
                "InvalidBatch : Unable to find relationship: Account",
            ),
            (
                "Account",
                "Account:Parent:Customer_Key__c",
                "InvalidBatch : Field name not found : Account:Parent:Customer_Key__c",
            ),
            ("Account", "Nothing__c", "InvalidBatch : Field name not found : Nothing__c"),
            ("Account", "Parent.Phone", "InvalidBatch : Field name not found : Parent.Phone"),
            ("Order__c", "Account__r.Customer_Key__c", ""),
            ("Task", "Order__c:What.Order_Key__c", ""),
            (
                "Task",
                "What.Order_Key__c",
                "InvalidBatch : type is needed for polymorphic foreign key references: What",
            ),
        ] {
            let message = read(object, name).err().unwrap_or_default();
            assert_eq!(message, expected, "{name}");
        }
    }

    #[test]
    fn a_name_in_the_wrong_case_is_written_but_not_echoed() {
        assert!(read("Account", "Phone").unwrap()[0].echoed);
        assert!(!read("Account", "phone").unwrap()[0].echoed);
    }
}
