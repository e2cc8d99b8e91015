//! The end of a run: one compare-and-set commits the new baseline, the report says what happened, the
//! lease goes back.
//!
//! Called by the state machine at its end, and by the event that tells of an execution that failed.

mod ending;

use engine::{
    Class, Failure, RunRef, cursor,
    document::{
        Base, Chunk, Extracted, Failed, Format, Head, Mode, SegmentRef, Settled, Submitted, Watermark,
        from_bytes, to_bytes,
    },
    layout,
    report::{Report, Verdict},
};
use serde::Serialize;
use store::{Put, Store, Version, lease};

pub use ending::Event;

use ending::Ending;

/// How the run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// The verdict of the report.
    pub verdict: Verdict,
    /// The object key of the report for people.
    pub report: String,
}

/// Ends a run. Of one that failed the statement is cancelled, if `snowflake` is there to do it.
///
/// # Errors
/// [`Class::Contention`] when another run committed in the meantime or is going, [`Class::Bug`] when the counts do
/// not add up (the report is written all the same), the classes of the store otherwise.
pub async fn handle(
    store: &Store,
    snowflake: Option<&snowflake::Client>,
    event: Event,
) -> Result<Output, Failure> {
    let Event { run, failed } = event;
    let ending = Ending::read(store, &run).await?;
    if failed.is_none() {
        commit(&ending).await?;
    } else if let Some(snowflake) = snowflake {
        cancel(store, snowflake, &run).await;
    }
    let (report, place) = report(&ending, failed.as_ref()).await?;
    match ending.mode {
        _ if failed.is_some() => lease::release_failed(store, &run).await?,
        Mode::Run => lease::release(store, &run, report.stopped.clone()).await?,
        Mode::Plan | Mode::Rebuild | Mode::RebuildAll => lease::release_untried(store, &run).await?,
    }
    match report.verdict {
        Verdict::Unbalanced => {
            Err(Failure::new(Class::Bug, format!("the counts of run `{run}` do not add up"))
                .hint(format!("see `{place}`")))
        }
        verdict => Ok(Output { verdict, report: place }),
    }
}

/// Stops a statement that nobody waits for any more: it would go on for as long as its time-out lets it. What
/// goes wrong here must not hide why the run failed.
async fn cancel(store: &Store, snowflake: &snowflake::Client, run: &RunRef) {
    let cancelled = async {
        if store.exists(&layout::result(run)).await? {
            return Ok(());
        }
        match store.get_json::<Submitted>(&layout::submitted(run)).await? {
            Some(submitted) => snowflake.cancel(&submitted.handle).await,
            None => Ok(()),
        }
    };
    if let Err(failure) = cancelled.await {
        tracing::warn!(class = %failure.class, "the statement cannot be cancelled: {failure}");
    }
}

/// Makes the settled segments the baseline, over the head that the run started from and no other, while no other run is
/// going.
async fn commit(ending: &Ending<'_>) -> Result<(), Failure> {
    let Ending { store, run, mode, .. } = ending;
    if *mode == Mode::Plan {
        return Ok(());
    }
    let base: Base = store.require(&layout::base(run)).await?;
    let cursor = cursor(ending, &base.head).await?;
    let segments = segments(store, run).await?;
    let carried_out = u32::try_from(base.releases.len()).expect("a run carries out a few releases");
    let released = base.head.released + carried_out;
    let head = Head { format: Format::CURRENT, run: Some(run.run.clone()), segments, cursor, released };
    let over = base.version.map(Version);
    let place = layout::head(&run.sync);
    if is_committed(store, &place, over.as_ref(), &head).await? {
        return Ok(());
    }
    // A run that had nothing to send may have lost the lease long ago. Whoever has it now may be sending, and what it
    // sends is settled only over the head that it began from.
    lease::hold(store, run).await?;
    let put = store.replace(&place, to_bytes(&head), over.as_ref()).await?;
    if matches!(put, Put::Written(_)) || is_committed(store, &place, over.as_ref(), &head).await? {
        return Ok(());
    }
    Err(Failure::contention(format!("another run of `{}` committed while `{run}` was going", run.sync))
        .hint("start a new run: it compares with what is committed now"))
}

/// Whether an earlier try committed and died before it could say so.
async fn is_committed(
    store: &Store,
    place: &str,
    over: Option<&Version>,
    head: &Head,
) -> Result<bool, Failure> {
    match store.get(place).await? {
        // What a rebuild goes over may be damaged.
        Some(object) if over != Some(&object.version) => {
            Ok(from_bytes::<Head>(place, &object.bytes)? == *head)
        }
        _ => Ok(false),
    }
}

/// How far the model counts as read with this commit.
async fn cursor(ending: &Ending<'_>, head: &Head) -> Result<Option<Watermark>, Failure> {
    let extracted: Extracted = ending.store.require(&layout::result(ending.run)).await?;
    let settled = extracted.cursor.is_some() && cursor::is_settled(&ending::add_up(ending, None).await?);
    Ok(cursor::next(head, &extracted, settled))
}

async fn segments(store: &Store, run: &RunRef) -> Result<Vec<SegmentRef>, Failure> {
    let manifest: Vec<Chunk> = store.require(&layout::manifest(run)).await?;
    let mut segments = Vec::with_capacity(manifest.len());
    for chunk in manifest {
        let settled: Settled = store.require(&layout::settled(run, chunk.chunk)).await?;
        if settled.segment.rows > 0 {
            segments.push(settled.segment);
        }
    }
    Ok(segments)
}

/// Writes the report, or finds it written, and says where its text is.
///
/// A run that failed may be redriven and end well after all, and a plan may be applied, so each end has files of its
/// own.
async fn report(ending: &Ending<'_>, failed: Option<&Failed>) -> Result<(Report, String), Failure> {
    let Ending { store, run, mode, .. } = ending;
    let (json, text) = match (failed, mode) {
        (Some(_), _) => (layout::failure(run), layout::failure_text(run)),
        (None, Mode::Plan) => (layout::preview_json(run), layout::preview_text(run)),
        (None, _) => (layout::report_json(run), layout::report_text(run)),
    };
    if let Some(report) = store.get_json::<Report>(&json).await? {
        return Ok((report, text));
    }
    let report = ending::add_up(ending, failed).await?;
    // Text first: the JSON is what a second try looks for.
    store.create(&text, report.to_text().into_bytes()).await?;
    store.create_json(&json, &report).await?;
    Ok((report, text))
}
