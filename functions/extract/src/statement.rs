//! The statement: submitted once, whatever happens, and polled until it has finished.

use std::io::Write;

use engine::{
    Failure, RunRef,
    config::{Fresh, Selection, Sync},
    contract::{Column, ColumnKind},
    cursor,
    document::{Extracted, Statement, Submitted, Watermark, sync_file},
    fresh, layout,
    mapping::Mapping,
    partition::Rows,
};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use snowflake::{Finished, Poll, StatementRequest};
use store::Store;
use uuid::Uuid;

use crate::prepare::Prepared;

/// Whether the statement has finished.
pub(crate) enum Progress {
    /// Not yet: ask again after so many seconds.
    Running { wait_seconds: u64 },
    /// The row types and partitions are known.
    Finished(Box<Extracted>),
}

/// Submits the statement, or finds that it was submitted.
///
/// The request id is written before the statement is sent, so that a second try is recognised by
/// Snowflake as the first one: `retry=true` is said whenever a try may have gone before.
pub(crate) async fn submit(
    store: &Store,
    snowflake: &snowflake::Client,
    run: &RunRef,
    prepared: &Prepared,
) -> Result<Submitted, Failure> {
    let place = layout::submitted(run);
    if let Some(submitted) = store.get_json::<Submitted>(&place).await? {
        return Ok(submitted);
    }
    let sync = prepared.sync();
    let sql = sync.statement(prepared.watermark.as_ref()).map_err(|failure| in_file(run, failure))?;
    let statement = Statement { request_id: request_id(run), sql };
    let first_try =
        matches!(store.create_json(&layout::statement(run), &statement).await?, store::Put::Written(_));
    let handle = snowflake.submit(&request(run, sync, statement, !first_try)).await?;
    let submitted = Submitted { handle, at: Timestamp::now() };
    store.create_json(&place, &submitted).await?;
    store.require(&place).await
}

fn request_id(run: &RunRef) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("backhaul {run}").as_bytes()).to_string()
}

fn request(run: &RunRef, sync: &Sync, statement: Statement, resubmission: bool) -> StatementRequest {
    let model = &sync.model;
    StatementRequest {
        sql: statement.sql,
        request_id: statement.request_id,
        resubmission,
        timeout_seconds: model.timeout_seconds,
        warehouse: model.warehouse.clone(),
        role: model.role.clone(),
        database: model.database.clone(),
        schema: model.schema.clone(),
        bindings: Vec::new(),
        query_tag: serde_json::json!({"app": "backhaul", "sync": run.sync, "run": run.run}).to_string(),
    }
}

/// Asks once whether the statement has finished; when it has, keeps partition 0, which comes with the answer.
pub(crate) async fn result(
    store: &Store,
    snowflake: &snowflake::Client,
    run: &RunRef,
    prepared: &Prepared,
    submitted: &Submitted,
) -> Result<Progress, Failure> {
    let place = layout::result(run);
    if let Some(extracted) = store.get_json::<Extracted>(&place).await? {
        return Ok(Progress::Finished(Box::new(extracted)));
    }
    let polled = snowflake.poll(&submitted.handle).await;
    let body = match polled.map_err(|failure| in_file(run, failure))? {
        Poll::Running => return Ok(Progress::Running { wait_seconds: wait_seconds(submitted.at) }),
        Poll::Finished(body) => body,
    };
    let finished = keep_first_partition(store, run, body).await?;
    let mapping = Mapping::resolve(prepared.sync(), &finished.columns, &prepared.objects)
        .map_err(|failure| in_file(run, failure))?;
    let cursor = greatest(store, run, &finished.columns, prepared).await?;
    let age = match &prepared.sync().model.fresh {
        Some(fresh) if finished.rows > 0 => Some(age(store, run, &finished.columns, fresh, submitted).await?),
        _ => None,
    };
    let extracted = Extracted {
        columns: finished.columns,
        rows: finished.rows,
        partitions: finished.partitions.iter().map(|partition| partition.rows).collect(),
        mapping: narrowed(mapping, prepared),
        cursor,
        age,
    };
    store.create_or_agree(&place, engine::document::to_bytes(&extracted)).await?;
    Ok(Progress::Finished(Box::new(extracted)))
}

/// The mapping for what this run reads. A rebuild leaves keys without a row, and rows that are as they were
/// accepted, to the next run and its guard rails.
fn narrowed(mapping: Mapping, prepared: &Prepared) -> Mapping {
    if prepared.run.mode.asks() {
        return Mapping { narrowed: true, send: Selection::Changes, ..mapping };
    }
    Mapping { narrowed: prepared.watermark.is_some(), ..mapping }
}

/// The failure with the file that a person has to look at.
fn in_file(run: &RunRef, failure: Failure) -> Failure {
    failure.at(format_args!("`{}`", sync_file(&run.sync)))
}

/// How far the cursor column came: the same in every row, so the first says it. None without a cursor, without rows, or
/// when it is NULL in all of them.
async fn greatest(
    store: &Store,
    run: &RunRef,
    columns: &[Column],
    prepared: &Prepared,
) -> Result<Option<Watermark>, Failure> {
    let Some(cursor) = &prepared.sync().model.cursor else { return Ok(None) };
    let (cell, kind) = first_cell(store, run, columns, cursor::COLUMN).await?;
    let Some(value) = cell else { return Ok(None) };
    let found = Watermark { value, kind, holds_for: prepared.holds_for.clone() };
    // The next run has to read on from it: better told now than then.
    cursor::lower_bound(&found, cursor.overlap).map_err(|failure| in_file(run, failure))?;
    Ok(Some(found))
}

/// How old the model was when the statement was submitted, in seconds: the same for every try.
async fn age(
    store: &Store,
    run: &RunRef,
    columns: &[Column],
    fresh: &Fresh,
    submitted: &Submitted,
) -> Result<u64, Failure> {
    let (cell, kind) = first_cell(store, run, columns, fresh::COLUMN).await?;
    let age = cell.and_then(|value| fresh::age(&kind, &value, submitted.at));
    age.ok_or_else(|| {
        let failure = Failure::guard(format!("`{}` of `model.fresh` has no value in any row", fresh.column));
        in_file(run, failure.hint("it is not known how old the model is, so nothing was sent"))
    })
}

/// A cell of the first row by the name of its column, with the type; none when it is NULL, or there is no row.
async fn first_cell(
    store: &Store,
    run: &RunRef,
    columns: &[Column],
    name: &str,
) -> Result<(Option<String>, ColumnKind), Failure> {
    let Some(index) = columns.iter().position(|column| column.name == name) else {
        return Err(Failure::bug(format!("the result has no column `{name}`")));
    };
    let (blocking, place) = (store.blocking(), layout::partition(run, 0));
    let cell = store::blocking(move || {
        let mut rows = Rows::new(blocking.reader(&place)?);
        let first = rows.next()?;
        Ok(first.and_then(|row| row.cell(index).map(ToOwned::to_owned)))
    });
    Ok((cell.await?, columns[index].kind.clone()))
}

/// A third of the age of the statement, so that a long one is asked about rarely and a short one at once.
fn wait_seconds(submitted: Timestamp) -> u64 {
    let age = Timestamp::now().duration_since(submitted).as_secs();
    u64::try_from(age / 3).unwrap_or_default().clamp(1, 30)
}

async fn keep_first_partition(
    store: &Store,
    run: &RunRef,
    body: http_client::Body,
) -> Result<Finished, Failure> {
    let (store, place) = (store.blocking(), layout::partition(run, 0));
    let reading = store::blocking(move || {
        let mut gzip = GzEncoder::new(store.writer(&place)?, Compression::fast());
        let finished = snowflake::read_result(body.into_blocking(), &mut gzip)?;
        gzip.flush().map_err(|error| Failure::io(&place, &error))?;
        let writer = gzip.finish().map_err(|error| Failure::io(&place, &error))?;
        // An earlier try may have kept it already: a finished result does not change.
        writer.finish()?;
        Ok(finished)
    });
    reading.await
}
