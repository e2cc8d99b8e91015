//! What a careful Rust program does with the usual crates: `serde_json`, csv, a `HashMap`.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read},
    path::Path,
};

use engine::document::PlannedJob;
use flate2::bufread::MultiGzDecoder;

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::Deserialize;

use crate::{
    data::{Data, KEY_FIELD, headers},
    rows::{COLUMNS, KEPT_WHEN_NULL, Version},
};

/// Maps the first version: each partition as text, then as typed rows, then as CSV.
///
/// # Errors
/// Those of the files and of the data.
pub fn map(data: &Data, out: &Path) -> io::Result<u64> {
    let mut table = csv::Writer::from_writer(BufWriter::new(File::create(out)?));
    table.write_record(headers())?;
    let (mut text, mut count) = (String::new(), 0);
    for name in data.partitions(Version::First)? {
        text.clear();
        let file = BufReader::with_capacity(64 << 10, File::open(data.path(&name))?);
        MultiGzDecoder::new(file).read_to_string(&mut text)?;
        let rows: Vec<Row<'_>> = serde_json::from_str(&text)?;
        for row in &rows {
            row.write(&mut table)?;
        }
        count += rows.len() as u64;
    }
    table.flush()?;
    Ok(count)
}

/// Joins all results of the first load to the keys that were sent.
///
/// # Errors
/// Those of the files and of the data.
pub fn join(data: &Data, out: &Path) -> io::Result<u64> {
    let mut sent: HashMap<String, String> = HashMap::new();
    for record in csv::Reader::from_path(data.path("sent.csv"))?.into_records() {
        let record = record?;
        sent.insert(record[0].to_owned(), record[1].to_owned());
    }
    let mut table = csv::Writer::from_writer(BufWriter::new(File::create(out.join("typed-results.csv"))?));
    let mut accepted = 0;
    for job in 0..data.read::<Vec<PlannedJob>>("jobs.json")?.len() {
        for kind in ["success", "failed"] {
            let mut rows = csv::Reader::from_path(data.path(&format!("results/{job}-{kind}.csv")))?;
            let key = rows.headers()?.iter().position(|header| header == KEY_FIELD).unwrap_or_default();
            let mut record = csv::StringRecord::new();
            while rows.read_record(&mut record)? {
                let fingerprint = sent.remove(&record[key]).unwrap_or_default();
                let code = record[1].split(':').next().unwrap_or_default();
                accepted += u64::from(kind == "success");
                table.write_record([&record[key], &fingerprint, &record[0], code])?;
            }
        }
    }
    table.flush()?;
    Ok(accepted)
}

/// A cell; none for NULL.
#[derive(Deserialize)]
struct Cell<'a>(#[serde(borrow)] Option<Cow<'a, str>>);

/// A row of the benchmark's table.
#[derive(Deserialize)]
struct Row<'a>(#[serde(borrow)] [Cell<'a>; COLUMNS.len()]);

impl Row<'_> {
    /// Writes the row.
    fn write(&self, table: &mut csv::Writer<impl io::Write>) -> io::Result<()> {
        for (cell, (name, kind, ..)) in self.0.iter().zip(COLUMNS) {
            match (&cell.0, kind) {
                (None, _) if KEPT_WHEN_NULL.contains(&name) => table.write_field("")?,
                (None, _) => table.write_field("#N/A")?,
                (Some(text), "date") => table.write_field(date(text)?.to_string())?,
                (Some(text), "timestamp_ntz" | "timestamp_tz") => {
                    let instant = instant(text)?;
                    table.write_field(format!("{instant:.3}"))?;
                }
                (Some(text), _) => table.write_field(text.as_bytes())?,
            }
        }
        Ok(table.write_record(None::<&[u8]>)?)
    }
}

fn date(days: &str) -> io::Result<Date> {
    let days: i64 = days.parse().map_err(io::Error::other)?;
    let epoch = Date::constant(1970, 1, 1);
    epoch.checked_add(SignedDuration::from_hours(24 * days)).map_err(io::Error::other)
}

/// The milliseconds of seconds with a fraction; the zone does not change the instant.
fn instant(text: &str) -> io::Result<Timestamp> {
    let seconds = text.split(' ').next().unwrap_or_default();
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "000"));
    let millis: i64 = fraction.get(..3).unwrap_or("000").parse().map_err(io::Error::other)?;
    let whole: i64 = whole.parse().map_err(io::Error::other)?;
    Timestamp::from_millisecond(whole * 1000 + millis).map_err(io::Error::other)
}
