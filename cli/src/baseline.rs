//! What a person sees of a baseline: its segments, and whether each is whole.

use std::process::ExitCode;

use console::{pad_str, style};
use engine::{
    Failure, SyncName,
    baseline::State,
    document::{Base, Head, SegmentRef},
};
use indicatif::HumanCount;
use store::{Store, baseline};

/// Shows every segment of a baseline, and whether it is whole. The exit code is a failure when one is not.
///
/// # Errors
/// [`engine::Class::Configuration`] when the head is lost or damaged; the classes of the store.
pub async fn check(store: &Store, sync: &SyncName) -> Result<ExitCode, Failure> {
    Ok(if is_whole(store, sync).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows every segment of a baseline, and tells whether all are whole.
///
/// # Errors
/// As [`check`].
pub async fn is_whole(store: &Store, sync: &SyncName) -> Result<bool, Failure> {
    let Base { head, .. } = baseline::current(store, sync).await?;
    let mut states = Vec::with_capacity(head.segments.len());
    for segment in &head.segments {
        states.push(baseline::state(store, segment).await?);
    }
    print!("{}", listing(sync, &head, &states));
    Ok(states.iter().all(|state| *state == State::Whole))
}

/// One line for each segment, and a verdict.
fn listing(sync: &SyncName, head: &Head, states: &[State]) -> String {
    let Some(run) = &head.run else { return format!("{sync} has committed nothing yet.\n") };
    let (segments, rows) = (counted(&head.segments), rows(&head.segments));
    let mut text = format!("{}, committed by run {run}: {segments}, {rows}\n\n", style(sync).bold());
    text += &format!("  {:<8}{:>11}  {}\n", "state", "rows", "segment");
    for (segment, state) in head.segments.iter().zip(states) {
        let word = match state {
            State::Whole => style(state.word()).green(),
            State::Lost | State::Damaged => style(state.word()).red().bold(),
        };
        let word = pad_str(&word.to_string(), 8, console::Alignment::Left, None).into_owned();
        text += &format!("  {word}{:>11}  {}\n", HumanCount(segment.rows).to_string(), segment.object);
    }
    text + "\n" + &verdict(sync, head, states)
}

fn verdict(sync: &SyncName, head: &Head, states: &[State]) -> String {
    let bad = head.segments.iter().zip(states).filter(|(_, state)| **state != State::Whole);
    let bad: Vec<SegmentRef> = bad.map(|(segment, _)| segment.clone()).collect();
    if bad.is_empty() {
        return "Every segment is whole.\n".to_owned();
    }
    let [are, them, their] = if bad.len() == 1 { ["is", "it", "its"] } else { ["are", "them", "their"] };
    format!(
        "{}, with {}, {are} not whole: no run of {sync} begins to send until that is mended.\n\
         Bring {them} back, or ask the org for {their} rows: backhaul baseline rebuild {sync}\n",
        counted(&bad),
        rows(&bad)
    )
}

fn counted(segments: &[SegmentRef]) -> String {
    crate::show::counted(segments.len(), "segment")
}

fn rows(segments: &[SegmentRef]) -> String {
    let rows: u64 = segments.iter().map(|segment| segment.rows).sum();
    format!("{} row{}", HumanCount(rows), if rows == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_says_of_each_segment_what_is_wrong() {
        console::set_colors_enabled(false);
        let segment = |number: u32, rows| SegmentRef {
            object: format!("syncs/customers/baseline/20260101T000000Z/{number:05}.zst"),
            rows,
            first_key: None,
            last_key: None,
            checksum: String::new(),
        };
        let sync = "customers".parse().unwrap();
        let run = Some("20260101T000000Z".parse().unwrap());
        let segments = vec![segment(0, 200_000), segment(1, 180_412), segment(2, 1)];
        let head = Head { run, segments, ..Head::default() };
        insta::assert_snapshot!(listing(&sync, &head, &[State::Whole, State::Damaged, State::Lost]), @"
        customers, committed by run 20260101T000000Z: 3 segments, 380,413 rows

          state          rows  segment
          whole       200,000  syncs/customers/baseline/20260101T000000Z/00000.zst
          damaged     180,412  syncs/customers/baseline/20260101T000000Z/00001.zst
          lost              1  syncs/customers/baseline/20260101T000000Z/00002.zst

        2 segments, with 180,413 rows, are not whole: no run of customers begins to send until that is mended.
        Bring them back, or ask the org for their rows: backhaul baseline rebuild customers
        ");
        let one = verdict(&sync, &head, &[State::Whole, State::Damaged, State::Whole]);
        assert!(one.starts_with("1 segment, with 180,412 rows, is not whole"), "{one}");
        let whole = listing(&sync, &head, &[State::Whole; 3]);
        assert!(whole.ends_with("\nEvery segment is whole.\n"), "{whole}");
        assert_eq!(listing(&sync, &Head::default(), &[]), "customers has committed nothing yet.\n");
    }
}
