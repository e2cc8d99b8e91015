//! Packs fragments into jobs and freezes the result.

use std::collections::BTreeMap;

use crate::{
    Failure, canary,
    config::{Api, Operation, Sync},
    csv,
    document::{Collected, Fragment, Mapped, Plan, PlannedJob, RemovalPlan},
    mapping::{Mapping, Removal},
    quota,
};

/// Most bytes that Salesforce takes as one upload.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/upload_job_data.htm>
pub const MAX_UPLOAD: u64 = 100_000_000;

/// Most rows that Salesforce takes in 24 hours, so in any one job.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_bulkapi.htm>
pub const MAX_ROWS: u64 = 150_000_000;

/// From so many rows on, Salesforce advises the Bulk API.
///
/// <https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/asynch_api_intro.htm>
pub const BULK_FROM_ROWS: u64 = 2_000;

/// So many rows are asked for by one job, unless a single fragment holds more: some 50 queries.
const ASK_ROWS: u64 = 10_000;

/// The jobs of the first wave: every fragment of `chunks` (given in key order) exactly once, in key order, in as few
/// jobs as that order and the groups allow. Without changes there are no jobs.
///
/// # Errors
/// [`crate::Class::Configuration`] when `load.max_job_bytes` is more than Salesforce takes or less than one fragment;
/// [`crate::Class::Bug`] when the counts of a chunk do not add up or fragments are out of order.
pub fn plan(sync: &Sync, mapping: &Mapping, chunks: &[Mapped]) -> Result<Plan, Failure> {
    let ahead = canary::rows(sync.load.canary.as_ref(), chunks.iter().map(Mapped::sent).sum());
    let ahead = ahead.unwrap_or_default();
    freeze(sync, mapping, chunks, |rows, headers| Ok(Room { ahead, ..Room::of(sync, rows, headers)? }))
}

/// The same rows for a rebuild, which asks the org for them and sends none: in jobs that one invocation can ask for.
///
/// # Errors
/// [`crate::Class::Bug`] as [`plan`].
pub fn ask(sync: &Sync, mapping: &Mapping, chunks: &[Mapped]) -> Result<Plan, Failure> {
    let room = |_, headers| Ok(Room { api: Api::Rest, headers, bytes: MAX_UPLOAD, rows: ASK_ROWS, ahead: 0 });
    Ok(Plan { asks: true, ..freeze(sync, mapping, chunks, room)? })
}

fn freeze(
    sync: &Sync,
    mapping: &Mapping,
    chunks: &[Mapped],
    room: impl FnOnce(u64, Headers) -> Result<Room, Failure>,
) -> Result<Plan, Failure> {
    chunks.iter().enumerate().try_for_each(|(number, chunk)| check_counts(number, chunk))?;
    let totals = total(chunks);
    let header = header(sync, mapping)?;
    let removal = mapping.removal.as_ref().map(|removal| removal_plan(removal, mapping));
    let headers = Headers { rows: header.len() as u64, removals: removal_header(removal.as_ref()) };
    let fragments = chunks.iter().flat_map(|chunk| &chunk.fragments);
    let room = room(fragments.clone().map(|fragment| fragment.rows).sum(), headers)?;
    let jobs = pack(room, fragments)?;
    let prediction = quota::predict(&jobs);
    let external_id = sync.key.field.clone();
    let object = sync.destination.object.clone();
    let operation = sync.destination.operation.vendor().to_owned();
    let removal = removal.filter(|_| totals.removing > 0);
    let (guard, asks) = Default::default();
    Ok(Plan {
        wave: 1,
        object,
        operation,
        external_id,
        header,
        removal,
        jobs,
        prediction,
        totals,
        guard,
        asks,
    })
}

fn removal_plan(removal: &Removal, mapping: &Mapping) -> RemovalPlan {
    RemovalPlan {
        operation: removal.operation.vendor().to_owned(),
        header: csv::header(&removal.mapping(&mapping.key)),
    }
}

fn removal_header(removal: Option<&RemovalPlan>) -> u64 {
    removal.map_or(0, |removal| removal.header.len() as u64)
}

/// The jobs of the wave after `before`: the rows of its jobs that are worth another pass. None when there are no such
/// rows, or when the sync allows no more waves.
///
/// # Errors
/// As [`plan`].
pub fn next_wave(sync: &Sync, before: &Plan, collected: &[Collected]) -> Result<Option<Plan>, Failure> {
    let mut fragments: Vec<_> = collected.iter().flat_map(|job| &job.again.fragments).collect();
    if fragments.is_empty() || before.wave >= sync.load.waves {
        return Ok(None);
    }
    // Jobs of one group follow each other in key order, and so do the files of a job.
    fragments.sort_by_key(|fragment| (fragment.chunk, fragment.again, &fragment.file));
    let removals = removal_header(before.removal.as_ref());
    let headers = Headers { rows: before.header.len() as u64, removals };
    let room = Room::of(sync, fragments.iter().map(|fragment| fragment.rows).sum(), headers)?;
    let jobs = pack(room, fragments.into_iter())?;
    let prediction = quota::predict(&jobs);
    let (totals, guard) = Default::default();
    let plan = Plan { wave: before.wave + 1, jobs, prediction, totals, guard, ..before.clone() };
    Ok(Some(plan))
}

/// The counts of all chunks together, without fragments and samples.
#[must_use]
pub fn total(chunks: &[Mapped]) -> Mapped {
    let mut totals = Mapped::default();
    for chunk in chunks {
        totals.read += chunk.read;
        totals.unchanged += chunk.unchanged;
        totals.held += chunk.held;
        for (code, rows) in &chunk.invalid {
            *totals.invalid.entry(code.clone()).or_default() += rows;
        }
        totals.added += chunk.added;
        totals.changed += chunk.changed;
        totals.cased += chunk.cased;
        totals.removed += chunk.removed;
        totals.removing += chunk.removing;
        totals.removals_held += chunk.removals_held;
        totals.renamed += chunk.renamed;
        for (code, held) in &chunk.held_for {
            totals.held_for.entry(code.clone()).or_default().add(*held);
        }
        totals.released += chunk.released;
        for (field, cells) in &chunk.cleared {
            *totals.cleared.entry(field.clone()).or_default() += cells;
        }
        for (field, cells) in &chunk.set {
            *totals.set.entry(field.clone()).or_default() += cells;
        }
        totals.examples.extend(&chunk.examples);
    }
    totals
}

fn check_counts(number: usize, chunk: &Mapped) -> Result<(), Failure> {
    let counted = chunk.unchanged + chunk.held + chunk.invalid_rows() + chunk.sent();
    let packed: u64 = chunk.fragments.iter().map(|fragment| fragment.rows).sum();
    let to_send = chunk.sent() + chunk.removing;
    if counted != chunk.read || packed != to_send {
        return Err(Failure::bug(format!(
            "chunk `{number}` read {} rows, counted {counted} and wrote {packed} of {to_send} to send",
            chunk.read,
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

/// Bytes of the header lines.
#[derive(Clone, Copy)]
struct Headers {
    rows: u64,
    removals: u64,
}

/// How large a job may become.
#[derive(Clone, Copy)]
struct Room {
    api: Api,
    headers: Headers,
    bytes: u64,
    rows: u64,
    /// Rows of the canary.
    ahead: u64,
}

impl Room {
    /// The interface is chosen by the rows of the whole wave, unless the sync names it.
    fn of(sync: &Sync, rows: u64, headers: Headers) -> Result<Self, Failure> {
        let bytes = sync.load.max_job_bytes;
        if bytes > MAX_UPLOAD {
            return Err(Failure::configuration(format!(
                "`load.max_job_bytes` is {bytes}, Salesforce takes 100,000,000"
            ))
            .hint("leave it out: the default is 90,000,000"));
        }
        let few = rows < BULK_FROM_ROWS && sync.destination.operation != Operation::HardDelete;
        let api = match sync.load.api {
            Api::Auto if few => Api::Rest,
            Api::Auto => Api::Bulk,
            named => named,
        };
        let rows = if api == Api::Rest { BULK_FROM_ROWS } else { MAX_ROWS };
        Ok(Self { api, headers, bytes, rows, ahead: 0 })
    }

    fn header(self, removes: bool) -> u64 {
        if removes { self.headers.removals } else { self.headers.rows }
    }

    fn job(self, turn: u32, removes: bool) -> PlannedJob {
        let bytes = self.header(removes);
        let (canary, fragments, rows) = (false, Vec::new(), 0);
        PlannedJob { api: self.api, turn, canary, removes, fragments, rows, bytes }
    }

    fn fits(self, job: &PlannedJob, fragment: &Fragment) -> bool {
        job.bytes + fragment.bytes <= self.bytes && job.rows + fragment.rows <= self.rows
    }

    fn check(self, fragment: &Fragment) -> Result<(), Failure> {
        let bytes = self.header(fragment.removes) + fragment.bytes;
        let (file, chunk, rows) = (&fragment.file, fragment.chunk, fragment.rows);
        let what = format!("`{file}` of chunk `{chunk}` makes an upload of {bytes} bytes");
        if bytes > MAX_UPLOAD || rows > MAX_ROWS {
            return Err(Failure::bug(format!("{what} and {rows} rows: more than Salesforce takes")));
        }
        if bytes > self.bytes {
            return Err(Failure::configuration(format!("{what}, `load.max_job_bytes` is {}", self.bytes))
                .hint("raise `load.max_job_bytes`: the default is 90,000,000"));
        }
        Ok(())
    }
}

/// Fills one job of a group after the other: with the order given, no other split has fewer jobs. The jobs of
/// one group lock the same parents, so each has a turn of its own; those of rows without a group run side by
/// side. Removals come last: when a job before them shows that something is wrong, nothing is gone yet. The
/// canary has jobs of its own, which come before all.
fn pack<'a>(room: Room, fragments: impl Iterator<Item = &'a Fragment>) -> Result<Vec<PlannedJob>, Failure> {
    let (mut canary, mut ahead): (Vec<PlannedJob>, _) = (Vec::new(), room.ahead);
    let mut groups: BTreeMap<(bool, u32), Vec<PlannedJob>> = BTreeMap::new();
    for fragment in fragments {
        room.check(fragment)?;
        let jobs = match ahead.checked_sub(fragment.rows).filter(|_| !fragment.removes) {
            Some(left) => {
                ahead = left;
                &mut canary
            }
            None => groups.entry((fragment.removes, fragment.group)).or_default(),
        };
        in_order(jobs, fragment)?;
        if !jobs.last().is_some_and(|job| room.fits(job, fragment)) {
            let turn = if fragment.group == 0 { 0 } else { jobs.len() };
            let turn = u32::try_from(turn).map_err(|_| Failure::bug("too many jobs"))?;
            jobs.push(room.job(turn, fragment.removes));
        }
        add(jobs.last_mut().expect("a job was pushed"), fragment);
    }
    canary.iter_mut().for_each(|job| job.canary = true);
    let first = canary.iter().map(|job| job.turn + 1).max().unwrap_or_default();
    let mut jobs: Vec<_> = groups.into_values().flatten().collect();
    jobs.iter_mut().for_each(|job| job.turn += first);
    let last = jobs.iter().filter(|job| !job.removes).map(|job| job.turn + 1).max().unwrap_or_default();
    jobs.iter_mut().filter(|job| job.removes).for_each(|job| job.turn = last.max(first));
    jobs.sort_by_key(|job| job.turn);
    canary.append(&mut jobs);
    Ok(canary)
}

fn in_order(jobs: &[PlannedJob], fragment: &Fragment) -> Result<(), Failure> {
    let last = jobs.last().and_then(|job| job.fragments.last());
    if last.is_none_or(|last| last.chunk <= fragment.chunk) {
        return Ok(());
    }
    Err(Failure::bug(format!("the fragments of chunk `{}` are out of order", fragment.chunk)))
}

fn add(job: &mut PlannedJob, fragment: &Fragment) {
    job.rows += fragment.rows;
    job.bytes += fragment.bytes;
    job.fragments.push(fragment.clone());
}
