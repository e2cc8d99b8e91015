//! Packs fragments into jobs and freezes the result.

use crate::{
    Failure,
    config::Sync,
    csv,
    document::{Fragment, Mapped, Plan, PlannedJob},
    mapping::Mapping,
};

/// Most bytes that Salesforce takes as one upload.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/upload_job_data.htm>
pub const MAX_UPLOAD: u64 = 100_000_000;

/// Most rows that Salesforce takes in 24 hours, so in any one job.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_bulkapi.htm>
pub const MAX_ROWS: u64 = 150_000_000;

/// The jobs of a wave: every fragment of `chunks` (given in key order) exactly once, in key order, in as few jobs
/// as that order allows. Without changes there are no jobs.
///
/// # Errors
/// [`crate::Class::Guard`] when the model is empty and the baseline is not; [`crate::Class::Configuration`] when
/// `load.max_job_bytes` is more than Salesforce takes or less than one fragment; [`crate::Class::Bug`] when the
/// counts of a chunk do not add up or fragments are out of order.
pub fn plan(wave: u32, sync: &Sync, mapping: &Mapping, chunks: &[Mapped]) -> Result<Plan, Failure> {
    let limit = sync.load.max_job_bytes;
    if limit > MAX_UPLOAD {
        return Err(Failure::configuration(format!(
            "`load.max_job_bytes` is {limit}, Salesforce takes 100,000,000"
        ))
        .hint("leave it out: the default is 90,000,000"));
    }
    chunks.iter().enumerate().try_for_each(|(number, chunk)| check_counts(number, chunk))?;
    let totals = total(chunks);
    guard(&totals)?;
    let header = header(sync, mapping)?;
    let jobs = pack(chunks.iter().flat_map(|chunk| &chunk.fragments), header.len() as u64, limit)?;
    let external_id = sync.key.field.clone();
    let object = sync.destination.object.clone();
    Ok(Plan { wave, object, operation: "upsert".to_owned(), external_id, header, jobs, totals })
}

/// The counts of all chunks together, without fragments and samples.
#[must_use]
pub fn total(chunks: &[Mapped]) -> Mapped {
    let mut totals = Mapped::default();
    for chunk in chunks {
        totals.read += chunk.read;
        totals.unchanged += chunk.unchanged;
        totals.held += chunk.held;
        totals.added += chunk.added;
        totals.changed += chunk.changed;
        totals.removed += chunk.removed;
        for (reason, rows) in &chunk.invalid {
            *totals.invalid.entry(reason.clone()).or_default() += rows;
        }
    }
    totals
}

/// An empty model is a broken view more often than an empty business.
fn guard(totals: &Mapped) -> Result<(), Failure> {
    if totals.read > 0 || totals.removed == 0 {
        return Ok(());
    }
    Err(Failure::guard(format!(
        "the model returned no rows, but {} records were loaded by earlier runs",
        totals.removed
    ))
    .hint("check the model's query, its role and the load behind it; nothing was sent"))
}

fn check_counts(number: usize, chunk: &Mapped) -> Result<(), Failure> {
    let counted = chunk.unchanged + chunk.held + chunk.invalid_rows() + chunk.sent();
    let packed: u64 = chunk.fragments.iter().map(|fragment| fragment.rows).sum();
    if counted != chunk.read || packed != chunk.sent() {
        return Err(Failure::bug(format!(
            "chunk `{number}` read {} rows, counted {counted} and wrote {packed} of {} to send",
            chunk.read,
            chunk.sent()
        )));
    }
    Ok(())
}

/// The header line of every job. Results are joined by the column of the key, so it has to be there.
fn header(sync: &Sync, mapping: &Mapping) -> Result<String, Failure> {
    let first = mapping.assignments.first().map(|assignment| assignment.header.as_str());
    if first != Some(sync.key.field.as_str()) {
        return Err(Failure::bug(format!("the first column is not the key field `{}`", sync.key.field)));
    }
    Ok(csv::header(mapping))
}

/// Fills one job after the other: with the order given, no other split has fewer jobs.
fn pack<'a>(
    fragments: impl Iterator<Item = &'a Fragment>,
    header: u64,
    limit: u64,
) -> Result<Vec<PlannedJob>, Failure> {
    let mut jobs: Vec<PlannedJob> = Vec::new();
    let mut chunk = 0;
    for fragment in fragments {
        check_fragment(fragment, header, limit)?;
        if fragment.chunk < chunk {
            return Err(Failure::bug(format!(
                "the fragments of chunk `{}` are out of order",
                fragment.chunk
            )));
        }
        chunk = fragment.chunk;
        match jobs.last_mut().filter(|job| fits(job, fragment, limit)) {
            Some(job) => add(job, fragment),
            None => {
                let mut job = PlannedJob { fragments: Vec::new(), rows: 0, bytes: header };
                add(&mut job, fragment);
                jobs.push(job);
            }
        }
    }
    Ok(jobs)
}

fn check_fragment(fragment: &Fragment, header: u64, limit: u64) -> Result<(), Failure> {
    let bytes = header + fragment.bytes;
    let what = format!("`{}` of chunk `{}` makes an upload of {bytes} bytes", fragment.file, fragment.chunk);
    if bytes > MAX_UPLOAD || fragment.rows > MAX_ROWS {
        return Err(Failure::bug(format!("{what} and {} rows: more than Salesforce takes", fragment.rows)));
    }
    if bytes > limit {
        return Err(Failure::configuration(format!("{what}, `load.max_job_bytes` is {limit}"))
            .hint("raise `load.max_job_bytes`: the default is 90,000,000"));
    }
    Ok(())
}

fn fits(job: &PlannedJob, fragment: &Fragment, limit: u64) -> bool {
    job.bytes + fragment.bytes <= limit && job.rows + fragment.rows <= MAX_ROWS
}

fn add(job: &mut PlannedJob, fragment: &Fragment) {
    job.rows += fragment.rows;
    job.bytes += fragment.bytes;
    job.fragments.push(fragment.clone());
}
