//! The shapes of both ends, as their vendors describe them, cut down to what a decision needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A column of a Snowflake result, in the order of the result. Names need not be unique.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/reference> (`rowType`)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The name as Snowflake stores it: upper-case unless it was quoted.
    pub name: String,
    /// The wire type.
    pub kind: ColumnKind,
    /// Digits after the point of a `fixed`, digits of the fraction of a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u32>,
}

/// The wire type of a column (`rowType.type`, compared without case).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Exact digits, with the decimal point in place.
    Fixed,
    /// Decimal text of a binary float, perhaps with an exponent, perhaps not finite.
    Real,
    /// Up to 38 significant digits, with an exponent outside that range.
    Decfloat,
    /// UTF-8 text.
    Text,
    /// `true` or `false` (`1` or `0` are accepted).
    Boolean,
    /// Days since 1970-01-01.
    Date,
    /// Seconds since midnight with a fraction.
    Time,
    /// Seconds since 1970 with a fraction, as if the wall clock were UTC.
    TimestampNtz,
    /// Seconds since 1970 with a fraction: an instant.
    TimestampLtz,
    /// Seconds since 1970 with a fraction, a space, offset minutes + 1440.
    TimestampTz,
    /// Upper-case hexadecimal.
    Binary,
    /// JSON text (`variant`, `object`, `array`).
    Json,
    /// A type this version does not carry; mapping such a column is a configuration failure.
    Other(String),
}

/// The Salesforce objects a sync touches: its destination and the parents it looks up, by API name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objects(pub BTreeMap<String, Object>);

/// A Salesforce object as its describe tells it to the running user.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The API name, spelt as the vendor spells it.
    pub name: String,
    /// The user may create records.
    #[serde(default)]
    pub createable: bool,
    /// The user may update records.
    #[serde(default)]
    pub updateable: bool,
    /// The user may delete records.
    #[serde(default)]
    pub deletable: bool,
    /// Every field the user can see.
    pub fields: Vec<Field>,
}

/// A field of a Salesforce object. Attribute names are the vendor's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Field {
    /// The API name, spelt as the vendor spells it: headers must match it letter by letter.
    pub name: String,
    /// The vendor's type word: `string`, `picklist`, `currency`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Most characters of a text.
    pub length: u32,
    /// Digits of a number in all.
    pub precision: u32,
    /// Digits of a number after the point.
    pub scale: u32,
    /// Most digits of an `int`.
    pub digits: u32,
    /// May be written when a record is created.
    pub createable: bool,
    /// May be written when a record is updated.
    pub updateable: bool,
    /// May be null.
    pub nillable: bool,
    /// The platform fills it when a create leaves it out.
    pub defaulted_on_create: bool,
    /// A formula: never writable.
    pub calculated: bool,
    /// Numbered by the platform: never writable.
    pub auto_number: bool,
    /// Declared as an external id.
    pub external_id: bool,
    /// May serve to find a record.
    pub id_lookup: bool,
    /// Two records may not share a value.
    pub unique: bool,
    /// Values that differ by case are different.
    pub case_sensitive: bool,
    /// Only the listed picklist values are accepted.
    pub restricted_picklist: bool,
    /// The picklist values.
    pub picklist_values: Vec<PicklistValue>,
    /// The name that a relationship column starts with, for a lookup.
    pub relationship_name: Option<String>,
    /// The objects a lookup may point to. Two or more make it polymorphic, whatever the flag says.
    pub reference_to: Vec<String>,
}

/// One value of a picklist.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PicklistValue {
    /// The API value (not the label).
    pub value: String,
    /// May be written.
    pub active: bool,
}

impl Objects {
    /// The object of that name, exactly spelt.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.0.get(name)
    }
}

impl Object {
    /// The field of that name, exactly spelt.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
