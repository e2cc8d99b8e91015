//! Chunks and jobs: every partition, key and fragment has exactly one place.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, JobRef,
    config::{Api, Destination, Guard, Key, Load, Model, Operation, Quota, Sync},
    contract::ColumnKind,
    document::{Again, Chunk, Collected, Fragment, Mapped, Scan},
    manifest::manifest,
    mapping::{Assignment, Conversion, KeyRule, Mapping, Source, WhenNull},
    plan::{MAX_UPLOAD, ask, next_wave, plan},
};
use proptest::prelude::*;

fn sync(max_job_bytes: u64) -> Sync {
    Sync {
        description: None,
        owner: None,
        schedule: None,
        model: Model {
            table: Some("A.B.C".to_owned()),
            query: None,
            warehouse: None,
            role: None,
            database: None,
            schema: None,
            timeout_seconds: 60,
            cursor: None,
            fresh: None,
        },
        key: Key { column: "ID".to_owned(), field: "Ext__c".to_owned() },
        destination: Destination {
            object: "Account".to_owned(),
            operation: Operation::Upsert,
            on_removed: None,
        },
        mapping: BTreeMap::new(),
        load: Load { max_job_bytes, ..Load::default() },
        quota: Quota::default(),
        guard: Guard::default(),
    }
}

fn mapping(headers: &[&str]) -> Mapping {
    let assignments = headers
        .iter()
        .map(|header| Assignment {
            header: (*header).to_owned(),
            source: Source::Constant(String::new()),
            conversion: Conversion::Boolean,
            when_null: WhenNull::Clear,
        })
        .collect();
    Mapping::new(KeyRule { column: 0, kind: ColumnKind::Text, fold_case: false }, assignments)
}

/// Chunks whose fragments have the given sizes, one row each.
fn mapped(chunks: &[Vec<u64>]) -> Vec<Mapped> {
    let fragment = |chunk: usize, file: usize, bytes: u64| Fragment {
        chunk: chunk as u32,
        again: None,
        group: 0,
        removes: false,
        file: format!("upsert-{file:03}.csv"),
        rows: 1,
        bytes,
    };
    let one = |(chunk, sizes): (usize, &Vec<u64>)| Mapped {
        read: sizes.len() as u64,
        added: sizes.len() as u64,
        fragments: sizes.iter().enumerate().map(|(file, bytes)| fragment(chunk, file, *bytes)).collect(),
        ..Mapped::default()
    };
    chunks.iter().enumerate().map(one).collect()
}

/// The fewest consecutive groups with at most `room` each, by trying every first group.
fn fewest(sizes: &[u64], room: u64) -> usize {
    let mut best = vec![0; sizes.len() + 1];
    for from in (0..sizes.len()).rev() {
        best[from] = (from + 1..=sizes.len())
            .take_while(|to| sizes[from..*to].iter().sum::<u64>() <= room)
            .map(|to| 1 + best[to])
            .min()
            .unwrap();
    }
    best[0]
}

proptest! {
    #[test]
    fn every_fragment_is_in_one_job(chunks in prop::collection::vec(prop::collection::vec(1..=90_u64, 0..6), 0..8)) {
        let header = "Ext__c,Name\n".len() as u64;
        let chunks = mapped(&chunks);
        let made = plan(&sync(100 + header), &mapping(&["Ext__c", "Name"]), &chunks).unwrap();
        let given: Vec<_> = chunks.iter().flat_map(|chunk| chunk.fragments.clone()).collect();
        let packed: Vec<_> = made.jobs.iter().flat_map(|job| job.fragments.clone()).collect();
        prop_assert_eq!(&packed, &given);
        for job in &made.jobs {
            let bytes: u64 = job.fragments.iter().map(|fragment| fragment.bytes).sum();
            prop_assert_eq!(job.bytes, bytes + header);
            prop_assert!(job.bytes <= 100 + header && !job.fragments.is_empty());
            prop_assert_eq!(job.rows, job.fragments.len() as u64);
        }
        let sizes: Vec<_> = given.iter().map(|fragment| fragment.bytes).collect();
        prop_assert_eq!(made.jobs.len(), fewest(&sizes, 100));
        prop_assert_eq!(made.totals.added, given.len() as u64);
        prop_assert!(made.totals.fragments.is_empty());
    }

    #[test]
    fn every_key_has_one_owner(sizes in prop::collection::vec((0..30_u64, any::<bool>(), 0..3_u8), 0..20), max in 1..80_u64) {
        let (scans, keys) = result(&sizes);
        let chunks = manifest(&scans, max);
        let partitions: Vec<u32> = chunks.iter().flat_map(|chunk| chunk.partitions.clone()).collect();
        prop_assert_eq!(partitions, (0..scans.len() as u32).collect::<Vec<_>>());
        prop_assert!(chunks[0].from_key.is_none() && chunks[0].previous_key.is_none());
        prop_assert!(chunks.last().unwrap().to_key.is_none());
        for (number, pair) in chunks.windows(2).enumerate() {
            prop_assert_eq!(pair[0].chunk as usize, number);
            prop_assert!(pair[1].from_key.is_some());
            prop_assert_eq!(&pair[0].to_key, &pair[1].from_key);
            prop_assert!(pair[1].previous_key < pair[1].from_key);
        }
        let owns = |chunk: &Chunk, key: &str| {
            chunk.from_key.as_deref().is_none_or(|from| from <= key) && chunk.to_key.as_deref().is_none_or(|to| key < to)
        };
        for (partition, key) in &keys {
            let owners: Vec<_> = chunks.iter().filter(|chunk| owns(chunk, key)).collect();
            prop_assert_eq!(owners.len(), 1);
            // The owner is where the key begins, even if it goes on in the next chunk.
            let first = keys.iter().find(|(_, other)| other == key).unwrap().0;
            prop_assert!(owners[0].partitions.contains(&first));
            if !owners[0].partitions.contains(partition) {
                let holder = chunks.iter().find(|chunk| chunk.partitions.contains(partition)).unwrap();
                prop_assert_eq!(holder.previous_key.as_ref(), Some(key));
            }
        }
        for chunk in &chunks {
            let rows: u64 = chunk.partitions.iter().map(|partition| scans[*partition as usize].rows).sum();
            prop_assert_eq!(chunk.rows, rows);
        }
    }
}

/// Partitions of `rows` rows; those with keys begin with the key before when `repeat` says so.
fn result(sizes: &[(u64, bool, u8)]) -> (Vec<Scan>, Vec<(u32, String)>) {
    let (mut scans, mut keys, mut next) = (Vec::new(), Vec::new(), 100);
    for (partition, (rows, repeat, null)) in sizes.iter().enumerate() {
        if *rows == 0 || *null == 0 {
            scans.push(Scan { rows: *rows, first_key: None, last_key: None });
            continue;
        }
        let first = if *repeat && next > 100 { next - 1 } else { next };
        let range: Vec<String> = (first..first + rows).map(|key| format!("K{key}")).collect();
        next = first + rows;
        scans.push(Scan { rows: *rows, first_key: range.first().cloned(), last_key: range.last().cloned() });
        keys.extend(range.into_iter().map(|key| (partition as u32, key)));
    }
    (scans, keys)
}

fn scan(rows: u64, first: &str, last: &str) -> Scan {
    Scan { rows, first_key: Some(first.to_owned()), last_key: Some(last.to_owned()) }
}

fn groups(scans: &[Scan], max: u64) -> Vec<Vec<u32>> {
    manifest(scans, max).into_iter().map(|chunk| chunk.partitions).collect()
}

#[test]
fn partitions_fill_chunks_and_stay_with_their_keys() {
    let none = Scan { rows: 7, first_key: None, last_key: None };
    let (a, b, c) = (scan(5, "a", "b"), scan(5, "c", "d"), scan(5, "e", "f"));
    type Line<'a> = (&'a [Scan], u64, &'a [&'a [u32]]);
    let table: &[Line<'_>] = &[
        (&[], 10, &[&[]]),
        (std::slice::from_ref(&none), 1, &[&[0]]),
        (&[none.clone(), none.clone()], 1, &[&[0, 1]]),
        (&[a.clone(), b.clone(), c.clone()], 10, &[&[0, 1], &[2]]),
        (&[a.clone(), b.clone(), c.clone()], 1, &[&[0], &[1], &[2]]),
        (&[none.clone(), a.clone(), none.clone(), b.clone(), none.clone()], 1, &[&[0, 1, 2], &[3, 4]]),
        // The border key `b` keeps 1 and 2 together, so 0 stays alone.
        (&[scan(5, "0", "1"), a.clone(), scan(5, "b", "c")], 10, &[&[0], &[1, 2]]),
        // Beyond four times the size, not even that.
        (&[scan(5, "b", "b"), scan(5, "b", "b"), scan(5, "b", "c")], 2, &[&[0], &[1], &[2]]),
    ];
    for (scans, max, expected) in table {
        assert_eq!(groups(scans, *max), *expected, "{scans:?} by {max}");
    }
}

#[test]
fn a_torn_key_stays_with_the_chunk_where_it_began() {
    let chunks = manifest(&[scan(9, "a", "b"), scan(9, "b", "c")], 2);
    assert_eq!(chunks[0].to_key.as_deref(), Some("b\0"));
    assert_eq!(chunks[1].from_key.as_deref(), Some("b\0"));
    assert_eq!(chunks[1].previous_key.as_deref(), Some("b"));
}

#[test]
fn no_changes_no_jobs() {
    let quiet = Mapped { read: 9, unchanged: 7, held: 2, ..Mapped::default() };
    let made = plan(&sync(1000), &mapping(&["Ext__c"]), &[quiet.clone(), quiet]).unwrap();
    assert!(made.jobs.is_empty());
    assert_eq!((made.totals.read, made.totals.unchanged, made.totals.held), (18, 14, 4));
    assert!(plan(&sync(1000), &mapping(&["Ext__c"]), &[]).unwrap().jobs.is_empty());
}

#[test]
fn equal_fragments_fill_every_job() {
    let header = "Ext__c\n".len() as u64;
    let made =
        plan(&sync(40 + header), &mapping(&["Ext__c"]), &mapped(&[vec![10; 17], vec![10; 6]])).unwrap();
    assert_eq!(made.jobs.len(), 23_usize.div_ceil(4));
    assert_eq!((made.wave, made.object.as_str(), made.operation.as_str()), (1, "Account", "upsert"));
}

#[test]
fn the_header_is_quoted_where_it_must_be() {
    let names = ["Ext__c", "Owner.Email", "User:Owner.Email", "a,b", "say \"x\""];
    let made = plan(&sync(1000), &mapping(&names), &[]).unwrap();
    assert_eq!(made.header, "Ext__c,Owner.Email,User:Owner.Email,\"a,b\",\"say \"\"x\"\"\"\n");
    assert_eq!(plan(&sync(1000), &mapping(&["Name"]), &[]).unwrap_err().class, Class::Bug);
}

#[test]
fn limits_and_contradictions_are_refused() {
    let class =
        |max: u64, chunks: &[Mapped]| plan(&sync(max), &mapping(&["Ext__c"]), chunks).unwrap_err().class;
    assert!(plan(&sync(MAX_UPLOAD), &mapping(&["Ext__c"]), &[]).is_ok());
    assert_eq!(class(MAX_UPLOAD + 1, &[]), Class::Configuration);
    assert_eq!(class(50, &mapped(&[vec![44]])), Class::Configuration);
    assert!(plan(&sync(50), &mapping(&["Ext__c"]), &mapped(&[vec![43]])).is_ok());
    assert_eq!(class(MAX_UPLOAD, &mapped(&[vec![MAX_UPLOAD]])), Class::Bug);
    let lost = Mapped { read: 5, unchanged: 4, ..Mapped::default() };
    assert_eq!(class(1000, &[lost]), Class::Bug);
    let unpacked = Mapped { read: 1, added: 1, ..Mapped::default() };
    assert_eq!(class(1000, &[unpacked]), Class::Bug);
    let mut swapped = mapped(&[vec![1], vec![1]]);
    swapped.reverse();
    assert_eq!(class(1000, &swapped), Class::Bug);
}

fn fragment(chunk: u32, again: Option<JobRef>, group: u32, file: usize, rows: u64) -> Fragment {
    Fragment { chunk, again, group, removes: false, file: format!("f-{file:03}.csv"), rows, bytes: rows }
}

/// One chunk with the given fragments.
fn chunk_of(fragments: Vec<Fragment>) -> Mapped {
    let rows = fragments.iter().map(|fragment| fragment.rows).sum();
    Mapped { read: rows, added: rows, fragments, ..Mapped::default() }
}

#[test]
fn few_rows_go_by_rest_and_many_in_bulk_unless_the_sync_says() {
    use backhaul_engine::config::Api::{Auto, Bulk, Rest};
    for (api, operation, rows, chosen) in [
        (Auto, Operation::Upsert, 1_999, Rest),
        (Auto, Operation::Upsert, 2_000, Bulk),
        (Auto, Operation::HardDelete, 1, Bulk),
        (Bulk, Operation::Upsert, 1, Bulk),
        (Rest, Operation::Upsert, 1_000_000, Rest),
    ] {
        let mut sync = sync(MAX_UPLOAD);
        sync.load.api = api;
        sync.destination.operation = operation;
        let chunks = [chunk_of(vec![fragment(0, None, 0, 0, rows)])];
        let made = plan(&sync, &mapping(&["Ext__c"]), &chunks).unwrap();
        assert_eq!(made.jobs[0].api, chosen, "{api:?} {operation:?} {rows}");
    }
}

#[test]
fn the_interface_is_chosen_by_the_wave_and_not_by_the_job() {
    let chunks = [chunk_of((0..4).map(|file| fragment(0, None, 0, file, 600)).collect())];
    let made = plan(&sync(MAX_UPLOAD), &mapping(&["Ext__c"]), &chunks).unwrap();
    assert_eq!(made.jobs.iter().map(|job| (job.api, job.rows)).collect::<Vec<_>>(), [(Api::Bulk, 2_400)]);
}

proptest! {
    #[test]
    fn jobs_of_one_group_never_run_side_by_side(
        sizes in prop::collection::vec(prop::collection::vec((1..=4_u32, 1..=90_u64), 0..12), 0..6),
    ) {
        let header = "Ext__c\n".len() as u64;
        let chunks: Vec<_> = (0..).zip(&sizes).map(|(chunk, sizes)| {
            let files = sizes.iter().enumerate();
            chunk_of(files.map(|(file, (group, rows))| fragment(chunk, None, *group, file, *rows)).collect())
        }).collect();
        let made = plan(&sync(100 + header), &mapping(&["Ext__c"]), &chunks).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let mut packed = Vec::new();
        for job in &made.jobs {
            let group = job.fragments[0].group;
            prop_assert!(job.fragments.iter().all(|fragment| fragment.group == group), "one group in a job");
            prop_assert!(seen.insert((job.turn, group)), "two jobs of group {group} in turn {}", job.turn);
            prop_assert!(job.bytes <= 100 + header);
            packed.extend(job.fragments.clone());
        }
        prop_assert!(made.jobs.is_sorted_by_key(|job| job.turn));
        let turns: Vec<_> = made.jobs.iter().map(|job| job.turn).collect();
        prop_assert!(turns.first().is_none_or(|first| *first == 0) && turns.windows(2).all(|t| t[1] - t[0] <= 1));
        let mut given: Vec<_> = chunks.iter().flat_map(|chunk| chunk.fragments.clone()).collect();
        let order = |f: &Fragment| (f.group, f.chunk, f.file.clone());
        packed.sort_by_key(order);
        given.sort_by_key(order);
        prop_assert_eq!(packed, given);
    }
}

#[test]
fn a_next_wave_takes_what_goes_again_until_the_last() {
    let mut sync = sync(MAX_UPLOAD);
    sync.load.waves = 2;
    let chunks = [chunk_of(vec![fragment(0, None, 0, 0, 5)])];
    let first = plan(&sync, &mapping(&["Ext__c"]), &chunks).unwrap();
    let job = |job| Some(JobRef { wave: 1, job });
    let again = |fragments: Vec<Fragment>| Collected {
        again: Again { fragments, ..Again::default() },
        ..Collected::default()
    };
    let collected = [
        again(vec![fragment(0, job(0), 0, 0, 2), fragment(1, job(0), 0, 1, 1)]),
        again(vec![fragment(1, job(1), 0, 0, 4)]),
    ];
    let second = next_wave(&sync, &first, &collected).unwrap().unwrap();
    assert_eq!((second.wave, second.header.as_str(), second.jobs.len()), (2, "Ext__c\n", 1));
    let files: Vec<_> = second.jobs[0].fragments.iter().map(|f| (f.chunk, f.again, f.rows)).collect();
    assert_eq!(files, [(0, job(0), 2), (1, job(0), 1), (1, job(1), 4)]);
    assert_eq!(second.totals, Mapped::default());
    assert!(next_wave(&sync, &second, &collected).unwrap().is_none(), "two waves are allowed");
    assert!(next_wave(&sync, &first, &[Collected::default()]).unwrap().is_none(), "nothing goes again");
}

/// One invocation asks for a job: it must come to its end.
#[test]
fn a_rebuild_asks_in_small_jobs_whatever_the_sync_says_of_loading() {
    let mut chunks = mapped(&[vec![100, 100], vec![100, 100]]);
    for chunk in &mut chunks {
        chunk.fragments.iter_mut().for_each(|fragment| fragment.rows = 6_000);
        (chunk.read, chunk.added) = (12_000, 12_000);
    }
    let sync = Sync { load: Load { api: Api::Bulk, ..Load::default() }, ..sync(1_000_000) };
    let plan = ask(&sync, &mapping(&["Ext__c"]), &chunks).unwrap();
    assert!(plan.asks && plan.jobs.iter().all(|job| job.api == Api::Rest && job.rows == 6_000));
    assert_eq!((plan.jobs.len(), plan.prediction.api_calls, plan.prediction.batches), (4, 120, 0));
}
