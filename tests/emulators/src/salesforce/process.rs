//! What happens to an uploaded file: the header as a whole first, then rows in batches and chunks.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use csv::{Reader, ReaderBuilder, StringRecord};

use super::Shared;
use super::header::{Column, Meaning, columns};
use super::results::{Layout, Results};
use super::schema::{Kind, Object};
use super::value::{RowError, echo};
use super::write::{Chunk, Database, Done, Given, Input, Operation};

/// Rows of an internal batch.
pub(crate) const BATCH: u64 = 10_000;
/// Rows that are saved together.
const CHUNK: usize = 200;
/// The most characters a header line may have.
const HEADER_LIMIT: usize = 32_000;
/// The most columns a file may have.
const COLUMN_LIMIT: usize = 5_000;
/// The most bytes a cell may have.
const CELL_LIMIT: usize = 131_072;

/// A job as the processor sees it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) ordinal: u64,
    pub(crate) object: usize,
    pub(crate) operation: Operation,
    pub(crate) upload: Bytes,
    pub(crate) layout: Layout,
    /// Whether failed rows tell the id of their record.
    pub(crate) failed_ids: bool,
    pub(crate) aborted: Arc<AtomicBool>,
}

/// What processing came to; an error makes the job `Failed`.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) results: Results,
    pub(crate) error: Option<String>,
}

/// Processes a job's file; `run` is false for a job that was aborted before it began.
pub(crate) fn process(org: &Shared, plan: &Plan, run: bool) -> Outcome {
    let mut results = Results::new(header_line(&plan.upload), plan.layout, plan.failed_ids);
    let checked = check(org, plan);
    let mut reader =
        ReaderBuilder::new().flexible(true).delimiter(plan.layout.delimiter).from_reader(&plan.upload[..]);
    let error = match checked {
        Ok(columns) if run => {
            Work { org, plan, columns, results: &mut results, rows: 0 }.run(&mut reader).err()
        }
        Ok(_) => None,
        Err(message) => run.then_some(message),
    };
    if error.as_deref() != Some(QUOTA) {
        rest(&mut reader, plan.layout, &mut results);
    }
    org.database().release(plan.ordinal);
    results.shuffle(org.config.seed ^ plan.ordinal);
    Outcome { results, error }
}

const QUOTA: &str = "ExceededQuota : ApiBatchItems Limit exceeded";
/// The vendor documents the allocation, not the words.
const ROW_QUOTA: &str = "ExceededQuota : ApiBatchRecords Limit exceeded";

/// Puts the rows that were not read among the unprocessed ones.
fn rest(reader: &mut Reader<&[u8]>, layout: Layout, results: &mut Results) {
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).unwrap_or(false) {
        results.unprocessed.push(layout, record.iter());
    }
}

fn header_line(upload: &[u8]) -> &str {
    let end = upload.iter().position(|byte| *byte == b'\n').unwrap_or(upload.len());
    let line = std::str::from_utf8(&upload[..end]).unwrap_or_default();
    line.strip_suffix('\r').unwrap_or(line)
}

/// Checks what makes the whole job fail.
fn check(org: &Shared, plan: &Plan) -> Result<Vec<Column>, String> {
    let text = std::str::from_utf8(&plan.upload)
        .map_err(|_| "InvalidBatch : Failed to parse CSV. Found characters outside UTF-8".to_owned())?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if wrong_ending(text, plan.layout.ending == "\r\n") {
        let setting = if plan.layout.ending == "\n" { "LF" } else { "CRLF" };
        return Err(format!(
            "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {setting}"
        ));
    }
    if stray_quote(text.as_bytes(), plan.layout.delimiter) {
        return Err("InvalidBatch : Failed to parse CSV. Found unescaped quote".to_owned());
    }
    let line = header_line(&plan.upload);
    let mut header = ReaderBuilder::new().delimiter(plan.layout.delimiter).from_reader(line.as_bytes());
    let names = header.headers().map_err(|_| "InvalidBatch : Failed to parse CSV".to_owned())?.clone();
    if line.len() > HEADER_LIMIT || names.len() > COLUMN_LIMIT {
        return Err("InvalidBatch : Too many columns in the CSV header".to_owned());
    }
    // The reader drops a byte order mark; the platform takes it for a part of the first name.
    let marked =
        line.starts_with('\u{feff}').then(|| format!("\u{feff}{}", names.get(0).unwrap_or_default()));
    let first = marked.as_deref().or(names.get(0)).into_iter();
    let columns = columns(&org.schema, plan.object, first.chain(names.iter().skip(1)))?;
    check_delete(&org.schema.objects[plan.object], plan, &columns)?;
    Ok(columns)
}

fn check_delete(object: &Object, plan: &Plan, columns: &[Column]) -> Result<(), String> {
    let is_id = |column: &Column| object.fields[column.meaning.field()].kind == Kind::Id;
    if plan.operation == Operation::Delete && !(columns.len() == 1 && columns.iter().all(is_id)) {
        return Err("InvalidBatch : The 'delete' batch must contain only ids".to_owned());
    }
    Ok(())
}

/// Whether the file holds a line break of the other kind, even inside a cell.
fn wrong_ending(text: &str, crlf: bool) -> bool {
    let mut breaks = text.match_indices('\n').map(|(at, _)| text.as_bytes()[..at].last() == Some(&b'\r'));
    breaks.any(|with_return| with_return != crlf)
}

/// Whether a quote stands where none may: inside a bare cell, or after the end of a quoted one.
fn stray_quote(text: &[u8], delimiter: u8) -> bool {
    #[derive(PartialEq)]
    enum At {
        Start,
        Bare,
        Quoted,
        Closed,
    }
    if !text.contains(&b'"') {
        return false;
    }
    let mut at = At::Start;
    for byte in text {
        at = match (at, *byte) {
            (At::Start, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, _) => At::Quoted,
            (At::Closed, b'"') => At::Quoted,
            (At::Start | At::Bare | At::Closed, other) if other == delimiter || other == b'\n' => At::Start,
            (At::Closed, b'\r') => At::Closed,
            (At::Bare, b'"') | (At::Closed, _) => return true,
            (At::Start | At::Bare, _) => At::Bare,
        };
    }
    at == At::Quoted
}

/// The rows of one job at work.
struct Work<'a> {
    org: &'a Shared,
    plan: &'a Plan,
    columns: Vec<Column>,
    results: &'a mut Results,
    rows: u64,
}

impl Work<'_> {
    fn run(&mut self, reader: &mut Reader<&[u8]>) -> Result<(), String> {
        let mut records = vec![StringRecord::new(); CHUNK];
        loop {
            if self.stopped() {
                return Ok(());
            }
            let mut filled = 0;
            while filled < CHUNK && reader.read_record(&mut records[filled]).unwrap_or(false) {
                filled += 1;
            }
            if filled == 0 {
                return Ok(());
            }
            let chunk = &records[..filled];
            if self.rows.is_multiple_of(BATCH) && !self.begin_batch() {
                self.leave(chunk);
                return Ok(());
            }
            self.check_batch_quota()?;
            self.check_row_quota(chunk)?;
            self.check_shape(chunk)?;
            self.write(chunk);
            self.rows += u64::try_from(filled).expect("a chunk is small");
        }
    }

    fn stopped(&self) -> bool {
        self.plan.aborted.load(Ordering::SeqCst) || self.org.stopped.load(Ordering::SeqCst)
    }

    /// Waits as told before a batch; false if the job was aborted meanwhile.
    fn begin_batch(&self) -> bool {
        let config = &self.org.config;
        let batch = self.rows / BATCH;
        if batch.is_multiple_of(u64::from(config.parallel_batches.max(1))) {
            self.org.database().release(self.plan.ordinal);
        }
        std::thread::sleep(config.batch_delay);
        while config.hold_after_batches.is_some_and(|most| batch >= most)
            && !self.org.released.load(Ordering::SeqCst)
            && !self.stopped()
        {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        !self.stopped()
    }

    /// Takes a batch of the day's allocation; without one, rows vanish from every result.
    fn check_batch_quota(&self) -> Result<(), String> {
        let begins = self.rows.is_multiple_of(BATCH);
        let taken = !begins || self.org.usage.batches.take(self.org.now(), 1).is_some();
        taken.then_some(()).ok_or_else(|| QUOTA.to_owned())
    }

    fn check_row_quota(&mut self, chunk: &[StringRecord]) -> Result<(), String> {
        let many = u64::try_from(chunk.len()).expect("a chunk is small");
        if self.org.usage.rows.take(self.org.now(), many).is_some() {
            return Ok(());
        }
        self.leave(chunk);
        Err(ROW_QUOTA.to_owned())
    }

    /// Puts rows that were read among the unprocessed ones.
    fn leave(&mut self, chunk: &[StringRecord]) {
        chunk.iter().for_each(|record| self.results.unprocessed.push(self.plan.layout, record.iter()));
    }

    fn check_shape(&mut self, chunk: &[StringRecord]) -> Result<(), String> {
        let wrong = |record: &StringRecord| {
            record.len() != self.columns.len() || record.iter().any(|cell| cell.len() > CELL_LIMIT)
        };
        let Some(bad) = chunk.iter().position(wrong) else { return Ok(()) };
        self.leave(chunk);
        let row = self.rows + u64::try_from(bad).expect("a chunk is small") + 1;
        Err(format!("InvalidBatch : Failed to parse CSV. Row {row} does not fit the header"))
    }

    fn write(&mut self, records: &[StringRecord]) {
        let object = &self.org.schema.objects[self.plan.object];
        let inputs: Vec<Input<'_>> = records.iter().map(|record| self.input(object, record)).collect();
        let parallel = self.org.config.parallel_batches > 1;
        let chunk = Chunk {
            object: self.plan.object,
            operation: self.plan.operation,
            job: Some((&self.plan.id, self.plan.ordinal)),
            lane: parallel.then_some(self.rows % BATCH),
            all_or_none: false,
            now: self.org.now(),
        };
        let mut database = self.org.database();
        let outcomes = database.write(&chunk, &inputs);
        let rows: Vec<_> = records.iter().zip(&inputs).zip(outcomes).collect();
        let failed = rows.iter().filter(|(_, outcome)| outcome.is_err()).count();
        let all = rows.len();
        for ((record, input), outcome) in rows {
            self.report(&database, object, record, input, outcome);
        }
        drop(database);
        self.org.jobs().progress(self.plan.ordinal, all, failed);
    }

    fn input<'r>(&self, object: &Object, record: &'r StringRecord) -> Input<'r> {
        let mut input = Input::default();
        let cells = self.columns.iter().zip(record.iter()).filter(|(_, cell)| !cell.is_empty());
        for (column, cell) in cells {
            let null = cell == "#N/A";
            match column.meaning {
                Meaning::Field(at) if object.fields[at].kind == Kind::Id => {
                    input.id = (!null).then(|| cell.into())
                }
                Meaning::Field(at) if self.plan.operation == Operation::Upsert(at) => {
                    input.key = (!null).then(|| cell.into());
                }
                meaning if null => input.sets.push((meaning.field(), Given::Null)),
                Meaning::Field(at) => input.sets.push((at, Given::Text(cell.into()))),
                Meaning::Parent { via, object, field } => {
                    input.sets.push((via, Given::Parent { object, field, key: cell.into() }));
                }
            }
        }
        input
    }

    fn report(
        &mut self,
        database: &Database,
        object: &Object,
        record: &StringRecord,
        input: &Input<'_>,
        outcome: Result<Done, RowError>,
    ) {
        let table = &database.tables[self.plan.object];
        let echoed: Vec<Cow<'_, str>> = self.echoed(object, record);
        let echoed = echoed.iter().map(Cow::as_ref);
        let layout = self.plan.layout;
        match outcome {
            Ok(done) => {
                let id = table.id(done.row);
                let created = if done.created { "true" } else { "false" };
                self.results.success.push(layout, [id.as_str(), created].into_iter().chain(echoed));
            }
            Err(error) => {
                let found = match (self.plan.operation, &input.key) {
                    (Operation::Upsert(field), Some(key)) => {
                        table.find(field, key).first().map(|row| table.id(*row))
                    }
                    _ => input.id.as_ref().map(ToString::to_string),
                };
                let (id, message) = (found.unwrap_or_default(), error.bulk(self.org.config.foreign_messages));
                let lead =
                    [id.as_str(), message.as_str()].into_iter().skip(usize::from(!self.plan.failed_ids));
                self.results.failed.push(layout, lead.chain(echoed));
            }
        }
    }

    fn echoed<'r>(&self, object: &Object, record: &'r StringRecord) -> Vec<Cow<'r, str>> {
        let cell = |(column, cell): (&Column, &'r str)| match column.meaning {
            _ if !column.echoed => Cow::Borrowed(""),
            Meaning::Field(at) => echo(&object.fields[at].kind, cell),
            Meaning::Parent { object, field, .. } => {
                echo(&self.org.schema.objects[object].fields[field].kind, cell)
            }
        };
        self.columns.iter().zip(record.iter()).map(cell).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_and_quotes_are_checked_as_a_whole() {
        for (text, crlf, wrong) in [
            ("a\nb\n", false, false),
            ("a\r\nb\r\n", false, true),
            ("a\n\"x\r\ny\"\n", false, true),
            ("a\n\"x\ry\"\n", false, false),
            ("a\r\nb\r\n", true, false),
            ("a\r\nb\n", true, true),
        ] {
            assert_eq!(wrong_ending(text, crlf), wrong, "{text:?}");
        }
        for (text, stray) in [
            ("a,b\n\"x \"\"y\"\" z\",\"\"\n", false),
            ("a,b\n\"x\ny\",z\r\n", false),
            ("a,b\nx\"y,z\n", true),
            ("a,b\n \"x\",z\n", true),
            ("a,b\n\"x\"y,z\n", true),
            ("\u{feff}\"a\",b\n", true),
            ("a\n\"x", true),
        ] {
            assert_eq!(stray_quote(text.as_bytes(), b','), stray, "{text:?}");
        }
    }
}
