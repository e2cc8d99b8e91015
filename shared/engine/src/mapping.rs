//! A sync joined to both ends: which column becomes which field, and how.
//!
//! [`Mapping::resolve`] makes it, once per run, out of the sync, the row type and the described objects.

mod header;
mod resolve;

use serde::{Deserialize, Serialize};

use crate::{
    config::{Operation, Selection},
    contract::ColumnKind,
};

pub(crate) use header::Header;

/// What Map needs to know of a sync, resolved once per run: no name is looked up per row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Where the key of a row is found and how it is checked.
    pub key: KeyRule,
    /// One CSV column each, in CSV order. The first is always the key.
    pub assignments: Vec<Assignment>,
    /// What is done with a row.
    #[serde(default)]
    pub operation: Operation,
    /// The assignment whose value names the parent, when rows of one parent are kept together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<usize>,
    /// The result is only a part of the model, so a key that is not in it is not removed.
    #[serde(default)]
    pub narrowed: bool,
    /// Which rows are sent.
    #[serde(default)]
    pub send: Selection,
    /// What becomes of records whose row has left the model; none when they are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
}

/// What becomes of records whose row has left the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// `Delete`, or `Update` to clear fields.
    pub operation: Operation,
    /// The fields that are cleared.
    pub clears: Vec<String>,
}

impl Removal {
    /// The mapping of the rows that are sent for a removal: the Salesforce id, and a null for each field.
    #[must_use]
    pub fn mapping(&self, key: &KeyRule) -> Mapping {
        let assignment = |header: &str, conversion| Assignment {
            header: header.to_owned(),
            source: Source::Constant(String::new()),
            conversion,
            when_null: WhenNull::Clear,
        };
        let cleared = self.clears.iter().map(|field| assignment(field, Conversion::Text { max_chars: 0 }));
        let assignments = [assignment("Id", Conversion::RecordId)].into_iter().chain(cleared).collect();
        Mapping { operation: self.operation, ..Mapping::new(key.clone(), assignments) }
    }
}

impl Mapping {
    /// The mapping of the rows of a job: these, or those of a removal.
    #[must_use]
    pub fn of(&self, removes: bool) -> Self {
        match &self.removal {
            Some(removal) if removes => removal.mapping(&self.key),
            _ => self.clone(),
        }
    }

    /// An upsert of every row of the model, in no groups.
    #[must_use]
    pub const fn new(key: KeyRule, assignments: Vec<Assignment>) -> Self {
        Self {
            key,
            assignments,
            operation: Operation::Upsert,
            group_by: None,
            narrowed: false,
            send: Selection::Changes,
            removal: None,
        }
    }
}

/// The key of a row: its text on the wire, by which the model is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRule {
    /// The position of the key column in the result.
    pub column: usize,
    /// `Fixed` with scale 0, or `Text`: nothing else has one text per value.
    pub kind: ColumnKind,
    /// The external id field ignores case (`caseSensitive: false`).
    pub fold_case: bool,
}

/// One CSV column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The CSV header: a field name, or `Relationship.Field` for a lookup by external id
    /// (`Type:Relationship.Field` when the lookup is polymorphic).
    pub header: String,
    /// Where the value comes from.
    pub source: Source,
    /// What the value must be and how it is written.
    pub conversion: Conversion,
    /// What a NULL becomes.
    pub when_null: WhenNull,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A column of the result, by position.
    Column {
        /// The position.
        index: usize,
        /// The wire type of the column.
        kind: ColumnKind,
        /// See [`crate::contract::Column::scale`].
        scale: Option<u32>,
    },
    /// The same text for every record, already in the form that Salesforce wants.
    Constant(String),
}

/// What a value must be for its field. It is decided by the type of the field; which column types
/// each accepts is a table in [`crate::value`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conversion {
    /// Text of at most so many characters (`string`, `textarea`, `phone`, `url`, `email`, …).
    Text {
        /// Most characters (Unicode scalar values); 0 means no limit is known.
        max_chars: u32,
    },
    /// One of the listed values.
    Picklist {
        /// The active values.
        values: Vec<String>,
    },
    /// Values joined by `;`, each one of the list when it is restricted.
    MultiPicklist {
        /// The active values; empty when the field takes any.
        values: Vec<String>,
    },
    /// `int`: digits without a fraction.
    Integer {
        /// Most digits.
        digits: u32,
    },
    /// `double`, `currency`, `percent`: a decimal with at most `precision - scale` digits before the point.
    Decimal {
        /// Digits in all; 0 means no limit is known.
        precision: u32,
        /// Digits after the point. More digits than that are a fault unless they are zeros.
        scale: u32,
    },
    /// `true` or `false`.
    Boolean,
    /// `yyyy-MM-dd`, years 1700 to 4000.
    Date,
    /// `yyyy-MM-ddTHH:mm:ss.SSSZ`, years 1700 to 4000, truncated to milliseconds.
    DateTime,
    /// `HH:mm:ss.SSSZ`, truncated to milliseconds.
    Time,
    /// A record id of 15 or 18 characters.
    RecordId,
}

/// What a NULL becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenNull {
    /// The field is set to null (`#N/A`).
    #[default]
    Clear,
    /// The field is left as it is (an empty cell).
    Keep,
    /// The record is invalid.
    Refuse,
}
