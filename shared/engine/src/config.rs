//! One YAML file per sync, as the user writes it.
//!
//! [`Sync::parse`] reads a file and tells everything that is wrong with it, each with its place. What
//! can only be known with both vendors asked (columns, fields, types) is checked by
//! [`crate::mapping::Mapping::resolve`]. The same type is frozen in `run.json`.

mod check;
mod problem;
mod source;
mod sql;
mod suggest;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mapping::WhenNull;

pub use problem::{ConfigErrors, Place, Problem};
pub(crate) use {problem::failure, sql::identifier, suggest::closest};

/// A sync: which rows go where, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// What the sync is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whom to ask about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it runs. Without a schedule it runs by hand only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The rows.
    pub model: Model,
    /// The column that names a record, and the external id field that holds it.
    pub key: Key,
    /// Where the rows go.
    pub destination: Destination,
    /// Which field gets which column. Field names are spelt as Salesforce spells them; `Relationship.Field`
    /// looks a parent up by its external id, `Type:Relationship.Field` where a lookup has several types.
    /// The key is mapped already.
    #[schemars(extend("minProperties" = 1))]
    pub mapping: BTreeMap<String, Value>,
    /// How rows are packed into jobs.
    #[serde(default)]
    pub load: Load,
}

/// When a sync runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five cron fields: minute, hour, day of month, month, day of week. When the clock is put forward, a
    /// time that is skipped runs right after; when it is put back, a fixed time runs once.
    #[schemars(example = "0 * * * *")]
    pub cron: String,
    /// The IANA time zone of the cron fields.
    #[schemars(example = "Europe/Berlin")]
    #[serde(default = "utc")]
    pub timezone: String,
}

/// The rows: a table or a query, and where it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// A table or view, fully qualified. Exactly one of `table` and `query` is given.
    #[schemars(example = "ANALYTICS.CRM.CUSTOMERS")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// A SELECT without a semicolon. Only the columns that are used leave Snowflake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The warehouse, spelt as Snowflake stores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warehouse: Option<String>,
    /// The role, spelt as Snowflake stores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The database for names that are not fully qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The schema for names that are not fully qualified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// How long the statement may run, in seconds.
    #[serde(default = "one_hour")]
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: u32,
}

/// What names a record on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The column of the model: text, or a whole number. Names are read as Snowflake reads them:
    /// upper-cased, unless they stand in double quotes (`'"customerId"'`).
    #[schemars(length(min = 1))]
    pub column: String,
    /// The external id field of the object.
    pub field: String,
}

/// Where the rows go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The API name of the object.
    pub object: String,
    /// What is done with a row.
    #[serde(default)]
    pub operation: Operation,
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Update the record with this key, or create it.
    #[default]
    Upsert,
}

/// Where the value of a field comes from: a column name, or the long form.
///
/// In YAML: `Name: C_NAME`, `Name: {column: C_NAME, when_null: keep}`, `Source__c: {value: snowflake}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A column of the model.
    Column {
        /// Its name.
        column: String,
        /// What a NULL becomes.
        when_null: WhenNull,
    },
    /// The same value for every record.
    Constant {
        /// The value, as it is written: `007` stays `007`.
        value: String,
    },
}

/// How rows are packed into jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Load {
    /// Most bytes of one upload; Salesforce takes 100,000,000.
    #[schemars(range(min = 1_000_000, max = 100_000_000))]
    pub max_job_bytes: u64,
    /// Jobs of one run that are loaded side by side.
    #[schemars(range(min = 1, max = 50))]
    pub concurrency: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { max_job_bytes: 90_000_000, concurrency: 4 }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}

fn one_hour() -> u32 {
    3600
}

/// The JSON schema of a sync file, for editors.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Sync);
    schema.insert("title".to_owned(), "A Backhaul sync".into());
    schema.to_value()
}

impl Sync {
    /// Reads the text of a file; `file` is its name as it should appear in messages.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it. What the file's structure hides is found once that is mended:
    /// values are looked at when all keys are known and have the right shape.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigErrors> {
        check::parse(text).map_err(|problems| ConfigErrors { file: file.to_owned(), problems })
    }

    /// The columns the sync reads, as Snowflake stores their names: the key first, none twice.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        let mut columns = vec![identifier(&self.key.column)];
        for value in self.mapping.values() {
            if let Value::Column { column, .. } = value {
                let column = identifier(column);
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
        columns
    }

    /// The statement that reads the model.
    ///
    /// It takes only the columns that are used, so that others cost nothing, and orders by the bytes of the
    /// key's text, whatever collation the account or the column has. The query stands on lines of its
    /// own, so that a comment at its end swallows nothing.
    ///
    /// <https://docs.snowflake.com/en/sql-reference/collation>
    #[must_use]
    pub fn statement(&self) -> String {
        let columns: Vec<String> = self.columns().iter().map(|column| sql::quoted(column)).collect();
        let rows = match (&self.model.query, &self.model.table) {
            (Some(query), _) => query.trim_end().to_owned(),
            (None, table) => format!("SELECT * FROM {}", table.as_deref().unwrap_or_default()),
        };
        format!(
            "SELECT {}\nFROM (\n{rows}\n) AS \"model\"\nORDER BY COLLATE({}::VARCHAR, 'utf8') NULLS LAST",
            columns.join(", "),
            columns[0]
        )
    }
}

/// The long form of a [`Value`], before it is known which of the two it is.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LongValue {
    /// A column of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<String>,
    /// What a NULL becomes; only with `column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    when_null: Option<WhenNull>,
    /// The same value for every record, instead of a column.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl TryFrom<LongValue> for Value {
    type Error = &'static str;

    fn try_from(long: LongValue) -> Result<Self, Self::Error> {
        match (long.column, long.when_null, long.value) {
            (Some(column), when_null, None) => {
                Ok(Self::Column { column, when_null: when_null.unwrap_or_default() })
            }
            (None, None, Some(value)) => Ok(Self::Constant { value }),
            (None, Some(_), Some(_)) => Err("`when_null` stands with `column`, not with `value`"),
            (Some(_), _, Some(_)) => Err("`column` and `value` exclude each other"),
            (None, _, None) => Err("one of `column` and `value` is missing"),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let long = match self {
            Self::Column { column, when_null: WhenNull::Clear } => return serializer.serialize_str(column),
            Self::Column { column, when_null } => {
                LongValue { column: Some(column.clone()), when_null: Some(*when_null), value: None }
            }
            Self::Constant { value } => LongValue { value: Some(value.clone()), ..LongValue::default() },
        };
        long.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> serde::de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a column, or `column` or `value` as keys")
    }

    fn visit_str<E>(self, column: &str) -> Result<Value, E> {
        Ok(Value::Column { column: column.to_owned(), when_null: WhenNull::default() })
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        let long = LongValue::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        Value::try_from(long).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Value {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let when_null = generator.subschema_for::<WhenNull>();
        schemars::json_schema!({
            "description": "Where the value of a field comes from: the name of a column, or the long form.",
            "anyOf": [
                { "type": "string", "minLength": 1, "description": "A column of the model." },
                {
                    "type": "object",
                    "required": ["column"],
                    "additionalProperties": false,
                    "properties": {
                        "column": { "type": "string", "minLength": 1, "description": "A column of the model." },
                        "when_null": when_null
                    }
                },
                {
                    "type": "object",
                    "required": ["value"],
                    "additionalProperties": false,
                    "properties": {
                        "value": {
                            "type": ["string", "number", "boolean"],
                            "description": "The same value for every record, taken as it is written."
                        }
                    }
                }
            ]
        })
    }
}
