//! Results as they go over the wire: rows cut into partitions, the first plain, the others compressed.

use std::io::{self, Write};

use axum::body::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rusqlite::types::ValueRef;
use serde_json::{Value as Json, json};

use super::engine::Shape;
use super::formats::Formats;
use super::kind::{Kind, real_text};
use super::query::Output;

/// What a statement left behind.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) columns: Vec<Output>,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) stats: Option<Stats>,
}

/// A piece of a result.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) rows: u64,
    /// Bytes of JSON before compression.
    pub(crate) size: u64,
    /// Partition 0: a JSON array of rows. Others: `{"data":[…]}` in gzip.
    pub(crate) body: Bytes,
}

/// What a DML statement did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

impl Outcome {
    /// One row of text.
    pub(crate) fn row(cells: &[(&str, Kind, String)], stats: Option<Stats>) -> Self {
        let column = |(name, kind, _): &(&str, Kind, String)| Output {
            name: (*name).to_owned(),
            kind: *kind,
            nullable: false,
            origin: None,
        };
        let row: Vec<&str> = cells.iter().map(|(_, _, cell)| cell.as_str()).collect();
        let body = Bytes::from(json!([row]).to_string());
        let partition = Partition { rows: 1, size: body.len() as u64, body };
        Self { columns: cells.iter().map(column).collect(), partitions: vec![partition], stats }
    }

    /// A small result in one partition.
    pub(crate) fn table(columns: Vec<Output>, rows: Vec<Vec<Option<String>>>) -> Self {
        let body = Bytes::from(json!(rows).to_string());
        let partition = Partition { rows: rows.len() as u64, size: body.len() as u64, body };
        Self { columns, partitions: vec![partition], stats: None }
    }

    /// `resultSetMetaData`.
    pub(crate) fn metadata(&self) -> Json {
        let partition = |(i, partition): (usize, &Partition)| {
            let mut info = json!({ "rowCount": partition.rows, "uncompressedSize": partition.size });
            if i > 0 {
                info["compressedSize"] = json!(partition.body.len());
            }
            info
        };
        let rows: u64 = self.partitions.iter().map(|partition| partition.rows).sum();
        json!({
            "numRows": rows,
            "format": "jsonv2",
            "partitionInfo": self.partitions.iter().enumerate().map(partition).collect::<Vec<_>>(),
            "rowType": self.columns.iter().map(row_type).collect::<Vec<_>>(),
        })
    }
}

impl Stats {
    pub(crate) fn json(self) -> Json {
        json!({
            "numRowsInserted": self.inserted,
            "numRowsUpdated": self.updated,
            "numRowsDeleted": self.deleted,
            "numDuplicateRowsUpdated": 0,
        })
    }
}

fn row_type(output: &Output) -> Json {
    let [precision, scale, length, bytes] = output.kind.sizes();
    let origin = output.origin.as_ref();
    json!({
        "name": output.name,
        "database": origin.map_or("", |path| path.database.as_str()),
        "schema": origin.map_or("", |path| path.schema.as_str()),
        "table": origin.map_or("", |path| path.name.as_str()),
        "type": output.kind.wire_name(),
        "precision": precision,
        "scale": scale,
        "length": length,
        "byteLength": bytes,
        "nullable": output.nullable,
        "collation": null,
    })
}

/// Cuts rows into partitions while they arrive; only the current row is held uncompressed beyond partition 0.
pub(crate) struct Cutter<'f> {
    kinds: Vec<Kind>,
    /// Rows per partition; `None`: a small first one and growing ones after it.
    rows: Option<u64>,
    nullable: bool,
    formats: &'f Formats,
    done: Vec<Partition>,
    first: Vec<u8>,
    packed: Option<GzEncoder<Vec<u8>>>,
    row: Vec<u8>,
    count: u64,
    size: u64,
}

impl<'f> Cutter<'f> {
    pub(crate) fn new(kinds: Vec<Kind>, shape: &'f Shape) -> Self {
        Self {
            kinds,
            rows: shape.partition_rows,
            nullable: shape.nullable,
            formats: &shape.formats,
            done: Vec::new(),
            first: b"[".to_vec(),
            packed: None,
            row: Vec::new(),
            count: 0,
            size: 1,
        }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: &rusqlite::Row<'_>) -> io::Result<()> {
        if self.count == self.limit() {
            self.close()?;
        }
        self.row.clear();
        self.row.extend_from_slice(if self.count == 0 { b"[" } else { b",[" });
        for (i, kind) in self.kinds.iter().enumerate() {
            if i > 0 {
                self.row.push(b',');
            }
            let value = row.get_ref(i).map_err(io::Error::other)?;
            match self.formats.cell(value, *kind) {
                Some(text) => serde_json::to_writer(&mut self.row, &text).map_err(io::Error::other)?,
                None => write_cell(&mut self.row, value, *kind, self.nullable)?,
            }
        }
        self.row.push(b']');
        self.count += 1;
        self.size += self.row.len() as u64;
        match &mut self.packed {
            Some(encoder) => encoder.write_all(&self.row),
            None => {
                self.first.extend_from_slice(&self.row);
                Ok(())
            }
        }
    }

    /// Partitions grow like those seen on real accounts: 4,096, 12,288, 36,864, then 50,000 rows.
    fn limit(&self) -> u64 {
        self.rows.unwrap_or(match self.done.len() {
            0 => 4_096,
            1 => 12_288,
            2 => 36_864,
            _ => 50_000,
        })
    }

    fn close(&mut self) -> io::Result<()> {
        let body = match self.packed.take() {
            Some(mut encoder) => {
                encoder.write_all(b"]}")?;
                encoder.finish()?
            }
            None => {
                self.first.push(b']');
                std::mem::take(&mut self.first)
            }
        };
        self.done.push(Partition { rows: self.count, size: self.size + 1, body: Bytes::from(body) });
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        encoder.write_all(b"{\"data\":[")?;
        self.packed = Some(encoder);
        (self.count, self.size) = (0, 1);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<Vec<Partition>> {
        if self.count > 0 || self.done.is_empty() {
            self.close()?;
        }
        Ok(self.done)
    }
}

fn write_cell(out: &mut Vec<u8>, value: ValueRef<'_>, kind: Kind, nullable: bool) -> io::Result<()> {
    match value {
        ValueRef::Null if nullable => out.extend_from_slice(b"null"),
        ValueRef::Null => out.extend_from_slice(b"\"null\""),
        ValueRef::Integer(number) if kind == Kind::Boolean => {
            out.extend_from_slice(if number == 0 { b"\"false\"" } else { b"\"true\"" });
        }
        ValueRef::Integer(number) => write!(out, "\"{number}\"")?,
        ValueRef::Real(number) => write!(out, "\"{}\"", real_text(number))?,
        ValueRef::Text(text) if kind.is_decimal() => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            serde_json::to_writer(out, &String::from_utf8_lossy(text)).map_err(io::Error::other)?;
        }
    }
    Ok(())
}
