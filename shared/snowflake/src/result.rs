//! A finished statement, read as a stream.
//!
//! Partition 0 comes inline and may be as large as Snowflake likes, before or after the metadata. Its rows
//! are written through one by one.

use std::fmt;
use std::io::{self, BufReader, Read, Write};

use engine::Failure;
use engine::contract::{Column, ColumnKind};
use http_client::from_io;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::client::unreadable;
use crate::problem::{Problem, Status};

/// What a result says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The columns, in their order. Names need not be unique.
    pub columns: Vec<Column>,
    /// Rows of all partitions.
    pub rows: u64,
    /// The partitions, of which the first was in the same answer.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition, as Snowflake announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionInfo {
    /// Its rows.
    #[serde(alias = "rowCount")]
    pub rows: u64,
    /// Its size as JSON text, in bytes.
    #[serde(alias = "uncompressedSize", default)]
    pub uncompressed_bytes: u64,
}

/// Reads the body of [`crate::Poll::Finished`] and writes its rows as a partition: `{"data":[[…],…]}`.
/// Blocks: call it in `spawn_blocking`. Memory grows with the longest row, not with their number.
///
/// <https://docs.snowflake.com/en/developer-guide/sql-api/handling-responses#getting-the-data-from-the-results>
///
/// # Errors
/// `Configuration` if Snowflake cut the result short; `Transient` if the body breaks off, or holds
/// another number of rows than it announces; the failures of both streams.
pub fn read_result(body: impl Read, rows: impl Write) -> Result<Finished, Failure> {
    let mut sink = Sink { out: rows, count: 0, error: None };
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(64 << 10, body));
    let document = Document { sink: &mut sink }.deserialize(&mut json);
    if let Some(error) = sink.error.take() {
        return Err(from_io(error));
    }
    let document = document.and_then(|read| json.end().map(|()| read)).map_err(unreadable)?;
    sink.out.flush().map_err(from_io)?;
    document.finish(sink.count)
}

/// What is kept of the document.
#[derive(Default)]
struct Announced {
    code: Option<String>,
    metadata: Option<MetaData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData {
    #[serde(default)]
    num_rows: Option<u64>,
    #[serde(default)]
    partition_info: Option<Vec<PartitionInfo>>,
    row_type: Vec<RowType>,
}

#[derive(Deserialize)]
struct RowType {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    scale: Option<u32>,
}

impl Announced {
    fn finish(self, inline_rows: u64) -> Result<Finished, Failure> {
        if self.code.as_deref() == Some("391908") {
            let status = Status { code: self.code, ..Status::default() };
            return Err(Problem { place: "the result".to_owned(), http: 200, status }.failure());
        }
        let metadata = self.metadata.ok_or_else(|| {
            Failure::configuration("the statement has no result").hint("write a SELECT as the model")
        })?;
        let whole = PartitionInfo { rows: inline_rows, uncompressed_bytes: 0 };
        let partitions = metadata.partition_info.filter(|all| !all.is_empty()).unwrap_or_else(|| vec![whole]);
        let rows = metadata.num_rows.unwrap_or_else(|| partitions.iter().map(|one| one.rows).sum());
        agree("partition 0", partitions[0].rows, inline_rows)?;
        agree("the result", rows, partitions.iter().map(|one| one.rows).sum())?;
        let columns = metadata.row_type.into_iter().map(RowType::column).collect();
        Ok(Finished { columns, rows, partitions })
    }
}

fn agree(what: &str, announced: u64, found: u64) -> Result<(), Failure> {
    if announced == found {
        return Ok(());
    }
    Err(Failure::transient(format!("{what} has {found} rows where Snowflake announced {announced}")))
}

impl RowType {
    fn column(self) -> Column {
        Column { kind: kind(&self.kind), name: self.name, scale: self.scale }
    }
}

/// The wire type. Real answers write it in lower case, parts of the documentation in upper case.
fn kind(word: &str) -> ColumnKind {
    match word.to_lowercase().as_str() {
        "fixed" => ColumnKind::Fixed,
        "real" => ColumnKind::Real,
        "decfloat" => ColumnKind::Decfloat,
        "text" => ColumnKind::Text,
        "boolean" => ColumnKind::Boolean,
        "date" => ColumnKind::Date,
        "time" => ColumnKind::Time,
        "timestamp_ntz" => ColumnKind::TimestampNtz,
        "timestamp_ltz" => ColumnKind::TimestampLtz,
        "timestamp_tz" => ColumnKind::TimestampTz,
        "binary" => ColumnKind::Binary,
        "variant" | "object" | "array" => ColumnKind::Json,
        other => ColumnKind::Other(other.to_owned()),
    }
}

/// Where rows go, and what went wrong there: a visitor cannot carry an I/O error out.
struct Sink<W> {
    out: W,
    count: u64,
    error: Option<io::Error>,
}

impl<W: Write> Sink<W> {
    fn write<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.out.write_all(bytes).map_err(|error| {
            self.error = Some(error);
            E::custom("the rows cannot be written")
        })
    }

    fn row<E: de::Error>(&mut self, row: &RawValue) -> Result<(), E> {
        if self.count > 0 {
            self.write(b",\n")?;
        }
        self.count += 1;
        self.write(row.get().as_bytes())
    }
}

struct Document<'a, W> {
    sink: &'a mut Sink<W>,
}

impl<'de, W: Write> DeserializeSeed<'de> for Document<'_, W> {
    type Value = Announced;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Announced, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Document<'_, W> {
    type Value = Announced;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result set")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Announced, A::Error> {
        let mut read = Announced::default();
        let mut seen = false;
        self.sink.write(br#"{"data":["#)?;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "code" => read.code = map.next_value()?,
                "resultSetMetaData" => read.metadata = map.next_value()?,
                "data" if seen => return Err(de::Error::duplicate_field("data")),
                "data" => {
                    seen = true;
                    map.next_value_seed(Rows { sink: self.sink })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        self.sink.write(b"]}")?;
        Ok(read)
    }
}

struct Rows<'a, W> {
    sink: &'a mut Sink<W>,
}

impl<'de, W: Write> DeserializeSeed<'de> for Rows<'_, W> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, W: Write> Visitor<'de> for Rows<'_, W> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<Box<RawValue>>()? {
            self.sink.row(&row)?;
        }
        Ok(())
    }
}
