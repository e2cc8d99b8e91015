//! One YAML file per sync, as the user writes it.
//!
//! [`Sync::parse`] reads a file and tells everything that is wrong with it, each with its place. What
//! can only be known with both vendors asked (columns, fields, types) is checked by
//! [`crate::mapping::Mapping::resolve`]. The same type is frozen in `run.json`.

mod check;
mod guard;
mod problem;
mod share;
mod source;
mod sql;
mod suggest;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Failure, cursor, document::Watermark, fresh, mapping::WhenNull};

pub use guard::{Fresh, Guard, Span};
pub use problem::{ConfigErrors, Place, Problem};
pub use share::Share;
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
    /// The column that names a record, and the field that holds it.
    pub key: Key,
    /// Where the rows go.
    pub destination: Destination,
    /// Which field gets which column. Field names are spelt as Salesforce spells them; `Relationship.Field`
    /// looks a parent up by its external id, `Type:Relationship.Field` where a lookup has several types.
    /// The key is mapped already; for `delete` and `hard_delete` nothing else is.
    #[serde(default)]
    pub mapping: BTreeMap<String, Value>,
    /// How rows are packed into jobs.
    #[serde(default)]
    pub load: Load,
    /// What a run leaves of the org's allowances for everyone else.
    #[serde(default)]
    pub quota: Quota,
    /// What a run may change without a person's leave.
    #[serde(default)]
    pub guard: Guard,
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
    /// Reads only rows that are new since the last run, by a column that grows with every change. Rows that leave
    /// the model are then not noticed, and neither is an older row with the key of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// How old the model may be: a load that stopped behind a view leaves rows that look well and are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh: Option<Fresh>,
}

/// The column that says when a row last changed.
///
/// The first run reads the whole model, and so does the first after a change of model, key, operation, mapping or the
/// mapped fields. The next run reads on from the greatest value only when all rows were accepted, unchanged, held or
/// invalid for good; otherwise it reads the same rows again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The column: a timestamp, a date or a whole number; it need not be mapped. Rows in which it is NULL are read
    /// by the first run only. A value ahead of time hides the changes made until then.
    #[schemars(length(min = 1))]
    pub column: String,
    /// How far behind the greatest value read the next run begins, for rows that were committed late: seconds of a
    /// timestamp, days of a date, units of a number. What is read twice is sent once.
    #[serde(default)]
    pub overlap: u32,
}

/// What names a record on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The column of the model: text, or a whole number. Names are read as Snowflake reads them:
    /// upper-cased, unless they stand in double quotes (`'"customerId"'`).
    #[schemars(length(min = 1))]
    pub column: String,
    /// An external id field of the object, for `insert` and `upsert`; `Id` for the other operations, whose column
    /// then holds Salesforce ids of 18 characters.
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
    /// What `mirror` does with the record of a row that has left the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_removed: Option<OnRemoved>,
}

/// What becomes of the record of a row that has left the model: `delete`, or `{clear: [Status__c]}`. The record is
/// the one that this sync has written, by its Salesforce id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRemoved {
    /// It is deleted.
    Delete,
    /// These fields are set to null, and the record stays.
    Clear(Vec<String>),
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Update the record with this key, or create it.
    #[default]
    Upsert,
    /// Create a record, once for each key, ever: a row that changes later is left alone.
    Insert,
    /// Update the record, never create one. The key field is `Id`.
    Update,
    /// As upsert, and `on_removed` says what becomes of the records of rows that have left the model.
    Mirror,
    /// Delete the record, once for each key. The key field is `Id`, and nothing is mapped.
    Delete,
    /// Delete the record past the recycle bin, once for each key. The key field is `Id`, and nothing is mapped.
    HardDelete,
}

impl Operation {
    /// The operation in the vendor's spelling.
    #[must_use]
    pub const fn vendor(self) -> &'static str {
        match self {
            Self::Upsert | Self::Mirror => "upsert",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::HardDelete => "hardDelete",
        }
    }

    /// The operation as a sync file spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::HardDelete => "hard_delete",
            Self::Mirror => "mirror",
            other => other.vendor(),
        }
    }

    /// The records are there already, and are named by their Salesforce id.
    #[must_use]
    pub const fn is_by_id(self) -> bool {
        matches!(self, Self::Update | Self::Delete | Self::HardDelete)
    }

    /// Records may be created.
    #[must_use]
    pub const fn creates(self) -> bool {
        matches!(self, Self::Upsert | Self::Mirror | Self::Insert)
    }

    /// Fields of records that are there may be written.
    #[must_use]
    pub const fn updates(self) -> bool {
        matches!(self, Self::Upsert | Self::Mirror | Self::Update)
    }

    /// What is done with the rows of the model: rows that have left it are another matter.
    #[must_use]
    pub const fn of_rows(self) -> Self {
        match self {
            Self::Mirror => Self::Upsert,
            other => other,
        }
    }

    /// Records go; nothing but their id is sent.
    #[must_use]
    pub const fn is_delete(self) -> bool {
        matches!(self, Self::Delete | Self::HardDelete)
    }
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
    /// Which of the two interfaces loads.
    pub api: Api,
    /// A field of the mapping that names the parent, as it stands there: rows with the same value are kept
    /// together, so that jobs that run side by side do not lock each other's parents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// Most passes of one run: rows that met a lock or a fault of the platform go again in the next one, a job at a
    /// time.
    #[schemars(range(min = 1, max = 10))]
    pub waves: u32,
    /// Which rows are sent.
    pub send: Selection,
    /// Rows that go ahead of all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// A few rows, in the order of their keys, go ahead of all others in jobs of their own. When Salesforce refuses too many
/// of them, nothing else is sent, and no scheduled run begins until a person has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// How many: a number, or a share of the rows that are sent. At least one goes ahead; removals never do.
    pub rows: Share,
    /// Most of them that may be refused.
    #[serde(default = "few")]
    pub max_rejected: Share,
}

const fn few() -> Share {
    Share::Percent(5)
}

/// Which rows are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Those that are not as Salesforce accepted them.
    #[default]
    Changes,
    /// All, with every run; what Salesforce refused as it is stays held.
    All,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            max_job_bytes: 90_000_000,
            concurrency: 4,
            api: Api::Auto,
            group_by: None,
            waves: 4,
            send: Selection::Changes,
            canary: None,
        }
    }
}

/// Which interface of Salesforce loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// `Rest` for fewer than 2,000 rows, `Bulk` otherwise.
    #[default]
    Auto,
    /// Bulk API 2.0 ingest jobs.
    Bulk,
    /// sObject Collections of the REST API, 200 rows a call.
    Rest,
}

/// What a run leaves of the org's allowances of 24 hours. A load that would take more waits, and then fails without
/// having begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Quota {
    /// API calls to leave: a number, or a share of the allowance such as `10%`.
    pub keep_api_calls: Share,
    /// Bulk batches to leave: a number, or a share of the allowance such as `10%`.
    pub keep_batches: Share,
}

impl Default for Quota {
    fn default() -> Self {
        Self { keep_api_calls: Share::Percent(10), keep_batches: Share::Percent(10) }
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

    /// The statement that reads the model: whole, or with a watermark only what is new since.
    ///
    /// It takes only the columns that are used, so that others cost nothing, and orders by the bytes of the
    /// key's text, whatever collation the account or the column has. The query stands on lines of its
    /// own, so that a comment at its end swallows nothing. The greatest value of the column of a cursor, and of that
    /// of `fresh`, comes with each row: of exactly the rows that were read.
    ///
    /// <https://docs.snowflake.com/en/sql-reference/collation>
    ///
    /// # Errors
    /// [`crate::Class::Configuration`] when the watermark cannot be written as a literal.
    pub fn statement(&self, watermark: Option<&Watermark>) -> Result<String, Failure> {
        let columns: Vec<String> = self.columns().iter().map(|column| sql::quoted(column)).collect();
        let rows = match (&self.model.query, &self.model.table) {
            (Some(query), _) => query.trim_end().to_owned(),
            (None, table) => format!("SELECT * FROM {}", table.as_deref().unwrap_or_default()),
        };
        let (greatest, since) = match &self.model.cursor {
            Some(cursor) => cursor.clauses(watermark)?,
            None => Default::default(),
        };
        let newest = match &self.model.fresh {
            Some(fresh) => greatest_of(&fresh.column, fresh::COLUMN),
            None => String::new(),
        };
        Ok(format!(
            "SELECT {}{greatest}{newest}\nFROM (\n{rows}\n) AS \"model\"{since}\n\
             ORDER BY COLLATE({}::VARCHAR, 'utf8') NULLS LAST",
            columns.join(", "),
            columns[0]
        ))
    }
}

impl Cursor {
    /// The column of the result that says how far the cursor came, and the condition for what is new.
    fn clauses(&self, watermark: Option<&Watermark>) -> Result<(String, String), Failure> {
        let column = sql::quoted(&identifier(&self.column));
        let since = match watermark {
            Some(watermark) => {
                format!("\nWHERE {column} >= {}", cursor::lower_bound(watermark, self.overlap)?)
            }
            None => String::new(),
        };
        Ok((greatest_of(&self.column, cursor::COLUMN), since))
    }
}

/// One more column of the result: the greatest value of a column, the same in every row.
fn greatest_of(column: &str, named: &str) -> String {
    format!(", MAX({}) OVER () AS \"{named}\"", sql::quoted(&identifier(column)))
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
