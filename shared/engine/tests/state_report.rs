//! The taxonomy, and the page that a person reads.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use std::{collections::BTreeMap, sync::LazyLock};

use backhaul_engine::{
    JobRef, RunId, RunRef,
    config::{Api, Operation, Quota},
    document::{
        Again, Approval, Collected, Examples, Failed, Found, HeldFor, Judged, Mapped, Mode, Prediction, Rail,
        Sample, SegmentRef, Stopped,
    },
    quota::{Allowance, Limits},
    report::{FieldChange, Input, JobOutcome, Preview, Report, Verdict},
    taxonomy::{RowClass, classify, codes, job_code, row_error, sentence},
};

fn run() -> RunRef {
    RunRef { sync: "customers".parse().unwrap(), run: "20261121T000300Z".parse().unwrap() }
}

fn report(mode: Mode, totals: &Mapped, jobs: &[JobOutcome], failure: Option<&Failed>) -> Report {
    report_of(mode, totals, jobs, |input| input.failure = failure)
}

/// The report of a run that is as usual but for one `change`.
fn report_of<'a>(
    mode: Mode,
    totals: &'a Mapped,
    jobs: &'a [JobOutcome],
    change: impl FnOnce(&mut Input<'a>),
) -> Report {
    static RUN: LazyLock<RunRef> = LazyLock::new(run);
    static QUOTA: LazyLock<Quota> = LazyLock::new(Quota::default);
    let started = RunId::instant(&RUN.run);
    let mut input = Input {
        run: &RUN,
        mode,
        object: "Account",
        operation: Operation::Upsert,
        started,
        finished: started + jiff::SignedDuration::from_secs(252),
        waves: 1,
        prediction: Prediction::default(),
        limits: None,
        quota: &QUOTA,
        stopped: None,
        guard: &[],
        released: None,
        preview: None,
        left_out: &[],
        totals,
        jobs,
        failure: None,
    };
    change(&mut input);
    Report::new(&input)
}

fn job(number: u32, collected: Collected) -> JobOutcome {
    let job_id = Some(format!("7505e0000000{number:03}AAA"));
    let state = "JobComplete".to_owned();
    JobOutcome {
        job: JobRef { wave: 1, job: number },
        job_id,
        batches: 1,
        removes: false,
        collected: Collected { state, ..collected },
    }
}

fn clean() -> (Mapped, Vec<JobOutcome>) {
    let totals =
        Mapped { read: 1_000_000, unchanged: 950_000, added: 20_000, changed: 30_000, ..Mapped::default() };
    let part =
        |created, updated| Collected { sent: created + updated, created, updated, ..Collected::default() };
    (totals, vec![job(0, part(20_000, 10_000)), job(1, part(0, 20_000))])
}

fn sample(key: Option<&str>, code: &str, field: Option<&str>, reason: &str) -> Sample {
    let owned = |text: &str| text.to_owned();
    Sample { key: key.map(owned), code: owned(code), field: field.map(owned), reason: owned(reason) }
}

fn troubled() -> (Mapped, Vec<JobOutcome>) {
    let totals = Mapped {
        read: 45_210,
        unchanged: 40_000,
        held: 12,
        invalid: BTreeMap::from([("text_too_long".to_owned(), 1), ("key_missing".to_owned(), 2)]),
        added: 195,
        changed: 5_000,
        removed: 3,
        samples: vec![
            sample(None, "key_missing", None, "the key is null"),
            sample(
                Some("C-000777"),
                "text_too_long",
                Some("Name"),
                "the text has 300 characters, `Name` takes 255",
            ),
        ],
        ..Mapped::default()
    };
    let rejected = BTreeMap::from([("DUPLICATE_VALUE".to_owned(), 60), ("UNABLE_TO_LOCK_ROW".to_owned(), 3)]);
    let reason = sentence("DUPLICATE_VALUE");
    let samples = vec![
        sample(Some("C-000010"), "DUPLICATE_VALUE", Some("Email__c"), reason),
        sample(Some(&"long".repeat(20)), "DUPLICATE_VALUE", None, reason),
    ];
    let collected =
        Collected { sent: 5_195, created: 190, updated: 4_942, rejected, samples, ..Collected::default() };
    (totals, vec![job(0, collected)])
}

#[test]
fn a_clean_run() {
    let (totals, jobs) = clean();
    let report = report(Mode::Run, &totals, &jobs, None);
    assert_eq!(report.verdict, Verdict::Green);
    insta::assert_snapshot!(report.to_text(), @r#"
    GREEN  customers → Account
    run 20261121T000300Z, started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Every row is accounted for, and nothing needs a person.

    ROWS
        1,000,000  read from Snowflake
          950,000  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           50,000  └─ sent
           20,000     ├─ created
           30,000     ├─ updated
                0     ├─ rejected by Salesforce
                0     ├─ unprocessed
                0     └─ missing from the results

    JOBS
      job    state              sent     accepted   rejected    unknown  Salesforce job
      1-000  JobComplete      30,000       30,000          0          0  7505e0000000000AAA
      1-001  JobComplete      20,000       20,000          0          0  7505e0000000001AAA

    FILES
      everything    runs/customers/20261121T000300Z/
    "#);
}

#[test]
fn a_run_with_rejections() {
    let (totals, jobs) = troubled();
    let report = report(Mode::Run, &totals, &jobs, None);
    assert_eq!(report.verdict, Verdict::Attention);
    insta::assert_snapshot!(report.to_text(), @r#"
    ATTENTION  customers → Account
    run 20261121T000300Z, started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    The run is complete, but some rows are not in Salesforce: see below why.

    ROWS
           45,210  read from Snowflake
           40,000  ├─ unchanged: Salesforce has them
               12  ├─ held: refused by Salesforce before, and not changed since
                3  ├─ invalid: stopped here, not sent
            5,195  └─ sent
              190     ├─ created
            4,942     ├─ updated
               63     ├─ rejected by Salesforce
                0     ├─ unprocessed
                0     └─ missing from the results
                3  no longer in the model; left as they are in Salesforce

    WHY ROWS WERE NOT WRITTEN
               60  DUPLICATE_VALUE, rejected
                   another record has the same value in a unique field
                3  UNABLE_TO_LOCK_ROW, rejected
                   another writer held the record or its parent; the next run sends it again
                2  key_missing, invalid
                   the key is null
                1  text_too_long, invalid
                   the text has 300 characters, `Name` takes 255

    SOME OF THEM
      C-000010                      DUPLICATE_VALUE  Email__c
      longlonglonglonglonglonglon…  DUPLICATE_VALUE
      (no key)                      key_missing
      C-000777                      text_too_long  Name

    JOBS
      job    state              sent     accepted   rejected    unknown  Salesforce job
      1-000  JobComplete       5,195        5,132         63          0  7505e0000000000AAA

    FILES
      everything    runs/customers/20261121T000300Z/
      invalid       runs/customers/20261121T000300Z/mapped/<chunk>/invalid-*.csv
      held          runs/customers/20261121T000300Z/mapped/<chunk>/held-*.csv
      rejected      runs/customers/20261121T000300Z/results/<job>/failed.csv
    "#);
}

/// What a person has to know of held rows in ten seconds.
#[test]
fn held_rows_are_told_by_reason() {
    let (mut totals, mut jobs) = troubled();
    let since = |text: &str| Some(text.parse().unwrap());
    let held = |rows, first| HeldFor { rows, first };
    totals.held_for = BTreeMap::from([
        ("STRING_TOO_LONG".to_owned(), held(1, since("2026-11-01T04:00:00Z"))),
        ("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST".to_owned(), held(9, since("2026-10-02T00:00:00Z"))),
        ("DUPLICATE_VALUE".to_owned(), held(2, None)),
    ]);
    totals.released = 4;
    jobs[0].collected.held = 60;
    let text = report(Mode::Run, &totals, &jobs, None).to_text();
    assert!(text.lines().all(|line| line.chars().count() <= 88), "{text}");
    insta::assert_snapshot!(text.split("\n\n").find(|part| part.starts_with("HELD")).unwrap(), @r"
    HELD: NOT SENT AGAIN UNTIL THEY CHANGE, OR ARE RELEASED
                9  INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST, since 2026-10-02 00:00
                   the value is not one of the picklist, or not for this record type
                2  DUPLICATE_VALUE, since it is not known when
                   another record has the same value in a unique field
                1  STRING_TOO_LONG, since 2026-11-01 04:00
                   the text is longer than the field
               60  rejected in this run, and held from now on
                4  refused before and released: they go again
      Which they are, and how to release them:
        backhaul held customers
    ");
}

#[test]
fn a_failed_run() {
    let failure = Failed {
        error: "Configuration".to_owned(),
        cause:
            "`Account.Segment__c` is not visible to the running user (hint: give its profile read and edit \
                access to the field, then start the run again)"
                .to_owned(),
    };
    let report = report(Mode::Run, &Mapped::default(), &[], Some(&failure));
    assert_eq!(report.verdict, Verdict::Failed);
    insta::assert_snapshot!(report.to_text(), @r#"
    FAILED  customers → Account
    run 20261121T000300Z, started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Nothing was committed: the next run starts from the same baseline and sends what is
    missing.

    FAILURE
      Configuration: `Account.Segment__c` is not visible to the running user (hint: give its
      profile read and edit access to the field, then start the run again)

    FILES
      everything    runs/customers/20261121T000300Z/
    "#);
}

#[test]
fn a_plan() {
    let (totals, _) = clean();
    let report = report(Mode::Plan, &totals, &[], None);
    assert_eq!(report.verdict, Verdict::Green);
    insta::assert_snapshot!(report.to_text(), @r#"
    GREEN  customers → Account
    run 20261121T000300Z (plan only), started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Nothing was sent. Every row is accounted for.

    ROWS
        1,000,000  read from Snowflake
          950,000  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           50,000  └─ to be sent

    FILES
      everything    runs/customers/20261121T000300Z/
    "#);
}

fn judged(rail: Rail, limit: u64, found: u64) -> Judged {
    Judged { rail, limit, found, field: (rail == Rail::MaxCleared).then(|| "Phone".to_owned()) }
}

/// Two rails of three that a run goes past.
fn guarded() -> [Judged; 3] {
    [
        judged(Rail::MaxChanges, 20_000, 50_000),
        judged(Rail::MaxRemoved, 100_000, 3),
        judged(Rail::MaxCleared, 500, 9_000),
    ]
}

#[test]
fn a_run_that_a_guard_rail_stopped() {
    let (totals, _) = clean();
    let rails = guarded();
    let failure = Failed { error: "Guard".to_owned(), cause: "nothing was sent: …".to_owned() };
    let stopped = report_of(Mode::Run, &totals, &[], |input| {
        (input.guard, input.failure) = (&rails, Some(&failure));
    });
    assert_eq!(stopped.verdict, Verdict::Failed);
    insta::assert_snapshot!(stopped.to_text(), @r#"
    FAILED  customers → Account
    run 20261121T000300Z, started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    A guard rail stopped the run before anything was sent: a person has to look.

    GUARD RAILS
      stop  50,000 rows would be sent, 30,000 more than the 20,000 of `guard.max_changes`
      stop  9,000 cells of `Phone` would be sent as NULL, 8,500 more than the 500 of
            `guard.max_cleared`
      Nothing was sent. If the change is right, release this very plan, and it is sent:
        backhaul run customers --run 20261121T000300Z --release
      or call the function `plan` with this event, and redrive the execution:
        {"sync":"customers","run":"20261121T000300Z","wave":1,"release":true}
      If it is not, mend the model: the next run compares with the same baseline.

    ROWS
        1,000,000  read from Snowflake
          950,000  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           50,000  └─ to be sent

    FILES
      everything    runs/customers/20261121T000300Z/
    "#);
}

#[test]
fn a_plan_shows_every_rail_and_how_to_go_past_it() {
    let (totals, _) = clean();
    let rails = guarded();
    let plan = report_of(Mode::Plan, &totals, &[], |input| input.guard = &rails);
    assert_eq!(plan.verdict, Verdict::Attention);
    insta::assert_snapshot!(plan.to_text(), @r#"
    ATTENTION  customers → Account
    run 20261121T000300Z (plan only), started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Nothing was sent. A guard rail stops this plan: see below.

    GUARD RAILS
      stop  50,000 rows would be sent, 30,000 more than the 20,000 of `guard.max_changes`
      ok    3 keys left the model, and `guard.max_removed` allows 100,000
      stop  9,000 cells of `Phone` would be sent as NULL, 8,500 more than the 500 of
            `guard.max_cleared`
      Nothing was sent. If the change is right, release this very plan, and it is sent:
        backhaul apply customers --run 20261121T000300Z --release
      If it is not, mend the model: the next run compares with the same baseline.

    ROWS
        1,000,000  read from Snowflake
          950,000  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           50,000  └─ to be sent

    FILES
      everything    runs/customers/20261121T000300Z/
    "#);
    let plan = report_of(Mode::Plan, &totals, &[], |input| input.guard = &rails[1..2]);
    assert_eq!(plan.verdict, Verdict::Green);
    assert!(plan.to_text().contains("  ok    3 keys left the model, and `guard.max_removed` allows 100,000"));
}

fn preview(api: Api, jobs: usize) -> Preview {
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    let (added, changed) = (keys(&["C-1", "C-2"]), keys(&["C-3", "C-4", "C-5", "C-6", &"long".repeat(10)]));
    let examples = Examples { added, changed, removed: Vec::new() };
    let of = |set, cleared| FieldChange { set, cleared };
    let fields = [("Customer_Key__c", of(30_002, 0)), ("Name", of(30_002, 0)), ("Phone", of(29_000, 41))];
    let fields = fields.map(|(field, change)| (field.to_owned(), change)).into();
    let api = Some(api);
    let (added, changed, bytes, seconds) = (2, 30_000, 12_345_678, 80);
    Preview { added, changed, examples, fields, jobs, canary: None, api, bytes, seconds }
}

#[test]
fn a_plan_shows_what_would_be_sent_and_how_to_send_it() {
    let (mut totals, _) = clean();
    (totals.unchanged, totals.added) = (969_998, 2);
    let plan = report_of(Mode::Plan, &totals, &[], |input| {
        static PREVIEW: LazyLock<Preview> = LazyLock::new(|| preview(Api::Bulk, 2));
        input.preview = Some(&PREVIEW);
        input.prediction = Prediction { api_calls: 24, batches: 6 };
    });
    assert_eq!(plan.verdict, Verdict::Green);
    insta::assert_snapshot!(plan.to_text(), @"
    GREEN  customers → Account
    run 20261121T000300Z (plan only), started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Nothing was sent. Every row is accounted for.

    ROWS
        1,000,000  read from Snowflake
          969,998  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           30,002  └─ to be sent

    WHAT WOULD BE SENT
                2  never accepted before: C-1, C-2
           30,000  accepted before, and changed since: C-3, C-4, C-5, C-6,
                   longlonglonglonglonglonglon…, …

      with a value    cleared  field
            30,002          0  Customer_Key__c
            30,002          0  Name
            29,000         41  Phone

      2 jobs in bulk, 12,345,678 bytes; loading takes about 1 min 20 s (an estimate).
      As long as no other run has committed, this very plan can be sent:
        backhaul apply customers --run 20261121T000300Z

    ALLOWANCES OF THE ORG, 24 HOURS
                     predicted     used  left before         of  kept for others
      API calls             24        -            -          -                -
      bulk batches           6        -            -          -                -

    FILES
      everything    runs/customers/20261121T000300Z/
    ");
    let rails = guarded();
    let one = preview(Api::Rest, 1);
    let stopped = report_of(Mode::Plan, &totals, &[], |input| {
        (input.preview, input.guard) = (Some(&one), &rails);
    });
    let text = stopped.to_text();
    assert!(
        text.contains("  1 job by REST calls, ") && text.matches("backhaul apply").count() == 1,
        "{text}"
    );
}

#[test]
fn a_run_that_was_released_says_by_whom() {
    let (totals, jobs) = clean();
    let rails = guarded();
    let approval = Approval { plan: "0".repeat(16), by: "jo, command line".to_owned() };
    let report = report_of(Mode::Run, &totals, &jobs, |input| {
        (input.guard, input.released) = (&rails, Some(&approval));
    });
    assert_eq!(report.verdict, Verdict::Green);
    let text = report.to_text();
    assert!(text.contains("\n  Released by jo, command line.\n"), "{text}");
    assert!(!text.contains("max_removed") && !text.contains("--release"), "{text}");
    // When such a run fails later, it is for another reason.
    let failure = Failed { error: "Guard".to_owned(), cause: "1 of 2 jobs were not carried out".to_owned() };
    let report = report_of(Mode::Run, &totals, &jobs, |input| {
        (input.guard, input.released, input.failure) = (&rails, Some(&approval), Some(&failure));
    });
    assert!(report.to_text().contains("FAILURE"), "{}", report.to_text());
}

#[test]
fn no_line_is_wider_than_the_page() {
    let (totals, jobs) = troubled();
    let wide = Failed { error: "E".repeat(300), cause: "w".repeat(500) };
    let (mut many, huge) =
        (jobs, Collected { sent: u64::MAX / 100, created: u64::MAX / 100, ..Collected::default() });
    many.extend(
        (1..40)
            .map(|number| job(number, Collected { sent: 999_999_999, updated: 999_999_999, ..huge.clone() })),
    );
    many[1].collected.rejected = (0..50).map(|n| (format!("{n}{}", "C".repeat(90)), 1)).collect();
    let text = report(Mode::Run, &totals, &many[..30], Some(&wide)).to_text();
    for line in text.lines() {
        assert!(line.chars().count() <= 88, "{} columns: {line}", line.chars().count());
        assert_eq!(line, line.trim_end());
    }
    assert!(text.contains("… and 18 more"), "{text}");
}

#[test]
fn the_verdict_is_the_worst_that_holds() {
    let verdict = |mode, change: &dyn Fn(&mut Mapped, &mut Vec<JobOutcome>)| {
        let (mut totals, mut jobs) = clean();
        change(&mut totals, &mut jobs);
        report(mode, &totals, &jobs, None).verdict
    };
    assert_eq!(verdict(Mode::Run, &|_, _| {}), Verdict::Green);
    assert_eq!(verdict(Mode::Run, &|totals, _| totals.removed = 9), Verdict::Green);
    let held = |totals: &mut Mapped, _: &mut Vec<JobOutcome>| {
        totals.held = 1;
        totals.unchanged -= 1;
    };
    assert_eq!(verdict(Mode::Run, &held), Verdict::Attention);
    let invalid = |totals: &mut Mapped, _: &mut Vec<JobOutcome>| {
        totals.invalid.insert("x".to_owned(), 1);
        totals.unchanged -= 1;
    };
    assert_eq!(verdict(Mode::Run, &invalid), Verdict::Attention);
    for unsure in [|job: &mut Collected| job.missing += 1, |job: &mut Collected| job.unprocessed += 1] {
        let change = |_: &mut Mapped, jobs: &mut Vec<JobOutcome>| {
            jobs[0].collected.created -= 1;
            unsure(&mut jobs[0].collected);
        };
        assert_eq!(verdict(Mode::Run, &change), Verdict::Incomplete);
    }
    // A job that failed after its last row, or that was stopped then, has left nothing undone.
    let stopped = |_: &mut Mapped, jobs: &mut Vec<JobOutcome>| jobs[1].collected.state = "Failed".to_owned();
    assert_eq!(verdict(Mode::Run, &stopped), Verdict::Green);
    // A row too many or too few anywhere is never green.
    type Change<'a> = &'a dyn Fn(&mut Mapped, &mut Vec<JobOutcome>);
    let contradictions: [Change<'_>; 6] = [
        &|totals, _| totals.read += 1,
        &|totals, _| totals.unchanged -= 1,
        &|totals, _| totals.added += 1,
        &|_, jobs| drop(jobs.pop()),
        &|_, jobs| jobs[0].collected.updated += 1,
        &|_, jobs| jobs[0].collected.sent += 1,
    ];
    for change in contradictions {
        assert_eq!(verdict(Mode::Run, change), Verdict::Unbalanced);
    }
    assert_eq!(verdict(Mode::Plan, &|_, _| {}), Verdict::Unbalanced, "a plan loads nothing");
}

/// Two jobs, of which the second hands 30 rows on to a second wave.
fn two_waves() -> (Mapped, Vec<JobOutcome>) {
    let (totals, mut jobs) = clean();
    let first = &mut jobs[1].collected;
    first.updated -= 40;
    first.rejected =
        BTreeMap::from([("UNABLE_TO_LOCK_ROW".to_owned(), 25), ("STRING_TOO_LONG".to_owned(), 8)]);
    first.unprocessed = 7;
    let rejected = BTreeMap::from([("UNABLE_TO_LOCK_ROW".to_owned(), 23)]);
    first.again = Again { rejected, unprocessed: 7, ..Again::default() };
    let rejected = BTreeMap::from([("UNABLE_TO_LOCK_ROW".to_owned(), 1)]);
    let mut second =
        job(0, Collected { sent: 30, updated: 29, rejected, api_calls: 7, ..Collected::default() });
    second.job.wave = 2;
    jobs.push(second);
    (totals, jobs)
}

#[test]
fn a_row_that_went_again_is_counted_where_it_ended() {
    let (totals, jobs) = two_waves();
    let report = report_of(Mode::Run, &totals, &jobs, |input| input.waves = 2);
    let counts = report.counts;
    assert_eq!(report.verdict, Verdict::Attention);
    assert_eq!((counts.created, counts.updated), (20_000, 29_989));
    assert_eq!((counts.rejected, counts.unprocessed, counts.missing), (11, 0, 0));
    let reasons: Vec<_> = report.reasons.iter().map(|reason| (reason.code.as_str(), reason.rows)).collect();
    assert_eq!(reasons, [("STRING_TOO_LONG", 8), ("UNABLE_TO_LOCK_ROW", 3)]);
    // Without a second wave the same rows are left where they were.
    let report = report_of(Mode::Run, &totals, &jobs[..2], |_| {});
    assert_eq!((report.counts.rejected, report.counts.unprocessed), (33, 7));
    assert_eq!(report.verdict, Verdict::Incomplete);
    // A wave that did not take over just what was handed on contradicts the one before.
    let report = report_of(Mode::Run, &totals, &jobs[..2], |input| input.waves = 2);
    assert_eq!(report.verdict, Verdict::Unbalanced);
}

#[test]
fn a_sync_that_stands_still_and_what_it_took() {
    let (totals, mut jobs) = two_waves();
    let code = "INSUFFICIENT_ACCESS_OR_READONLY".to_owned();
    jobs[0].collected.created -= 12_000;
    jobs[0].collected.rejected = BTreeMap::from([(code.clone(), 12_000)]);
    jobs[0].collected.api_calls = 11;
    let stopped = Stopped { run: run().run, code, rows: 12_000, canary: None };
    let allowance = |max, remaining| Allowance { max, remaining };
    let limits = Limits { api_calls: allowance(100_000, 98_013), batches: Some(allowance(15_000, 14_990)) };
    let report = report_of(Mode::Run, &totals, &jobs, |input| {
        (input.waves, input.stopped, input.limits) = (2, Some(&stopped), Some(limits));
        input.prediction = Prediction { api_calls: 24, batches: 6 };
    });
    assert_eq!(report.verdict, Verdict::Stopped);
    insta::assert_snapshot!(report.to_text(), @r#"
    STOPPED  customers → Account
    run 20261121T000300Z, started 2026-11-21 00:03:00 UTC, took 4 min 12 s
    Salesforce refused too many rows for a reason that only an admin can mend. No scheduled
    run begins until then.

    FOR THE ADMIN
      12,000 rows were refused with INSUFFICIENT_ACCESS_OR_READONLY: the running user has no
      right to the record or object.
      When it is mended, run `customers` by hand: a run that ends well puts it back on its
      schedule.

    ROWS
        1,000,000  read from Snowflake
          950,000  ├─ unchanged: Salesforce has them
                0  ├─ held: refused by Salesforce before, and not changed since
                0  ├─ invalid: stopped here, not sent
           50,000  └─ sent
            8,000     ├─ created
           29,989     ├─ updated
           12,011     ├─ rejected by Salesforce
                0     ├─ unprocessed
                0     └─ missing from the results

    WHY ROWS WERE NOT WRITTEN
           12,000  INSUFFICIENT_ACCESS_OR_READONLY, rejected
                   the running user has no right to the record or object
                8  STRING_TOO_LONG, rejected
                   the text is longer than the field
                3  UNABLE_TO_LOCK_ROW, rejected
                   another writer held the record or its parent; the next run sends it again

    JOBS
      job    state              sent     accepted   rejected    unknown  Salesforce job
      1-000  JobComplete      30,000       18,000     12,000          0  7505e0000000000AAA
      1-001  JobComplete      20,000       19,960         33          7  7505e0000000001AAA
      2-000  JobComplete          30           29          1          0  7505e0000000000AAA

    ALLOWANCES OF THE ORG, 24 HOURS
                     predicted     used  left before         of  kept for others
      API calls             24       18       98,013    100,000           10,000
      bulk batches           6        3       14,990     15,000            1,500

    FILES
      everything    runs/customers/20261121T000300Z/
      rejected      runs/customers/20261121T000300Z/results/<job>/failed.csv
    "#);
}

#[test]
fn each_operation_names_what_it_did() {
    let (totals, jobs) = clean();
    for (operation, named, not) in [
        (Operation::Upsert, vec!["created", "updated"], vec!["deleted"]),
        (Operation::Insert, vec!["created"], vec!["updated", "deleted"]),
        (Operation::Update, vec!["updated"], vec!["created", "deleted"]),
        (Operation::HardDelete, vec!["deleted"], vec!["created", "updated"]),
    ] {
        let text = report_of(Mode::Run, &totals, &jobs, |input| input.operation = operation).to_text();
        let line = |word: &str| text.contains(&format!("├─ {word}\n"));
        assert!(
            named.iter().all(|word| line(word)) && !not.iter().any(|word| line(word)),
            "{operation:?}: {text}"
        );
    }
}

#[test]
fn the_report_is_a_document() {
    let (totals, jobs) = troubled();
    let report = report(Mode::Run, &totals, &jobs, None);
    let bytes = backhaul_engine::document::to_bytes(&report);
    assert_eq!(backhaul_engine::document::from_bytes::<Report>("report.json", &bytes).unwrap(), report);
}

#[test]
fn every_known_code_has_its_class() {
    use RowClass::{Configuration, Contention, Data, Permission, Quota, Transient};
    let table: [(RowClass, &str); 6] = [
        (Contention, "UNABLE_TO_LOCK_ROW TooManyLockFailure"),
        (
            Transient,
            "CANNOT_EXECUTE_FLOW_TRIGGER TOO_MANY_APEX_REQUESTS REQUEST_RUNNING_TOO_LONG QUERY_TIMEOUT \
             SERVER_UNAVAILABLE INVALID_SERVER_ERROR UNKNOWN_EXCEPTION ALL_OR_NONE_OPERATION_ROLLED_BACK \
             INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE TERRITORY_REALIGN_IN_PROGRESS PROCESSING_HALTED \
             TXN_SECURITY_METERING_ERROR INVALID_SESSION_ID Timeout InternalServerError InvalidJobState InvalidJob \
             InvalidOperation InvalidSessionId API_ERROR Unknown",
        ),
        (Quota, "STORAGE_LIMIT_EXCEEDED TOO_MANY_JOBS REQUEST_LIMIT_EXCEEDED ExceededQuota"),
        (
            Permission,
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY \
             APEX_DATA_ACCESS_RESTRICTION TXN_SECURITY_NO_ACCESS API_DISABLED_FOR_ORG API_CURRENTLY_DISABLED",
        ),
        (
            Configuration,
            "INVALID_TYPE INVALID_EXTERNAL_ID_FIELD_NAME INVALID_ENTITY_FOR_UPSERT \
             INVALID_TYPE_FOR_OPERATION INVALID_FIELD_FOR_INSERT_UPDATE INVALID_RECORD_TYPE \
             UNAVAILABLE_RECORDTYPE_EXCEPTION INVALID_ASSIGNMENT_RULE UNSUPPORTED_DML LIMIT_EXCEEDED \
             LICENSE_LIMIT_EXCEEDED CUSTOM_ENTITY_OR_FIELD_LIMIT TXN_SECURITY_APEX_ERROR TXN_SECURITY_RUNTIME_ERROR \
             FUNCTIONALITY_NOT_ENABLED FEATURENOTENABLED FeatureNotEnabled INVALID_AUTH_HEADER MALFORMED_QUERY \
             NOT_FOUND METHOD_NOT_ALLOWED UNSUPPORTED_API_VERSION SELF_REFERENCE_FROM_TRIGGER FLOW_EXCEPTION \
             InvalidBatch ClientInputError InvalidEntity InvalidUser InvalidUrl InvalidXML MethodNotAllowed NotFound",
        ),
        (
            Data,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY ENTITY_IS_LOCKED REQUIRED_FIELD_MISSING \
             FIELD_CUSTOM_VALIDATION_EXCEPTION FIELD_FILTER_VALIDATION_EXCEPTION \
             INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST TOO_MANY_ENUM_VALUE STRING_TOO_LONG NUMBER_OUTSIDE_VALID_RANGE \
             INVALID_TYPE_ON_FIELD_IN_RECORD INVALID_EMAIL_ADDRESS INVALID_CURRENCY_ISO \
             TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET MALFORMED_ID INVALID_ID_FIELD INVALID_CROSS_REFERENCE_KEY \
             ENTITY_IS_DELETED ENTITY_IS_ARCHIVED DUPLICATE_VALUE DUPLICATE_EXTERNAL_ID DUPLICATES_DETECTED \
             INACTIVE_OWNER_OR_USER OP_WITH_INVALID_USER_TYPE_EXCEPTION TRANSFER_REQUIRES_READ \
             INVALID_EMPTY_KEY_OWNER CANNOT_UPDATE_CONVERTED_LEAD CANNOT_REPARENT_RECORD CHILD_SHARE_FAILS_PARENT \
             DELETE_FAILED DEPENDENCY_EXISTS CIRCULAR_DEPENDENCY MISSING_ARGUMENT INVALID_FIELD ALREADY_THERE",
        ),
    ];
    let known: Vec<&str> = codes().collect();
    for (class, names) in table {
        for code in names.split_whitespace() {
            assert_eq!(classify(code), class, "{code}");
            assert!(known.iter().any(|known| known.eq_ignore_ascii_case(code)), "{code} is not in the table");
            assert!(!sentence(code).is_empty());
        }
    }
    let mut once = known.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), known.len(), "a code is in the table twice");
    assert_eq!(classify("NEVER_HEARD_OF"), Data);
}

#[test]
fn errors_are_taken_apart_by_their_grammar() {
    for (text, code, fields) in [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
            "REQUIRED_FIELD_MISSING",
            Some("Name"),
        ),
        ("X1_Y:a: b, c\nd:A, B__c --\n", "X1_Y", Some("A, B__c")),
        ("INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--", "INVALID_CROSS_REFERENCE_KEY", None),
        ("DUPLICATE_VALUE:no end", "DUPLICATE_VALUE", None),
        ("DUPLICATE_VALUE", "DUPLICATE_VALUE", None),
        ("Something went wrong: X --", "UNKNOWN_ERROR", None),
        ("", "UNKNOWN_ERROR", None),
        (":x:--", "UNKNOWN_ERROR", None),
    ] {
        let error = row_error(text);
        assert_eq!((error.code, error.fields), (code, fields), "{text:?}");
    }
    for (text, code) in [
        ("InvalidBatch : Field name not found : Foo__c", "InvalidBatch"),
        ("ExceededQuota", "ExceededQuota"),
        ("something with spaces", "UNKNOWN_ERROR"),
        ("", "UNKNOWN_ERROR"),
    ] {
        assert_eq!(job_code(text), code);
    }
}

#[test]
fn a_rebuild_says_what_it_found_and_what_it_cannot_know() {
    let totals = Mapped {
        read: 1_400,
        unchanged: 900,
        added: 496,
        invalid: [("null_key".to_owned(), 4)].into(),
        ..Mapped::default()
    };
    let asked = |found| [job(0, Collected { found, api_calls: 3, ..Collected::default() })];
    let lost = SegmentRef {
        object: "syncs/customers/baseline/20260227T063000Z/00001.zst".to_owned(),
        rows: 500,
        first_key: None,
        last_key: None,
        checksum: String::new(),
    };
    let left_out = vec![lost; 8];
    let jobs = asked(Found { equal: 400, different: 90, absent: 6 });
    let of = |mode, operation| {
        report_of(mode, &totals, &jobs, |input| {
            input.operation = operation;
            input.left_out = &left_out;
        })
    };
    let report = of(Mode::Rebuild, Operation::Mirror);
    assert_eq!(report.verdict, Verdict::Attention);
    insta::assert_snapshot!(report.to_text(), @"
        ATTENTION  customers → Account
        run 20261121T000300Z (rebuild), started 2026-11-21 00:03:00 UTC, took 4 min 12 s
        Nothing was sent. The baseline knows again what the org has; see below for the rest.

        ROWS
                1,400  read from Snowflake
                  900  ├─ unchanged: what is left of the baseline knows them
                    0  ├─ held: refused by Salesforce before, and not changed since
                    4  ├─ invalid: stopped here, not asked for
                  496  └─ asked for in the org
                  400     ├─ as the model has them: the baseline knows them again
                   90     ├─ different: the next run sends them
                    6     └─ not there: the next run sends them

        LEFT OUT OF THE BASELINE
                4,000  rows of 8 lost or damaged segments
                       syncs/customers/baseline/20260227T063000Z/00001.zst
                       syncs/customers/baseline/20260227T063000Z/00001.zst
                       syncs/customers/baseline/20260227T063000Z/00001.zst
                       syncs/customers/baseline/20260227T063000Z/00001.zst
                       syncs/customers/baseline/20260227T063000Z/00001.zst
                       syncs/customers/baseline/20260227T063000Z/00001.zst
          … and 2 more in report.json
          What Salesforce refused of them is not known any more: the next run sends it once
          again.
          Those that have left the model since are not known either: their records stay in
          Salesforce.

        WHY ROWS WERE NOT WRITTEN
                    4  null_key, invalid

        FILES
          everything    runs/customers/20261121T000300Z/
          invalid       runs/customers/20261121T000300Z/mapped/<chunk>/invalid-*.csv
          not there     runs/customers/20261121T000300Z/results/<job>/missing.csv
          different     runs/customers/20261121T000300Z/results/<job>/verified-*.json
        ");
    for (mode, operation, line) in [
        (Mode::RebuildAll, Operation::Upsert, "4,000  rows of 8 segments\n"),
        (
            Mode::RebuildAll,
            Operation::Insert,
            "90     ├─ there with other content, which an insert leaves alone\n",
        ),
        (Mode::Rebuild, Operation::Delete, "90     └─ still there: the next run deletes them\n"),
    ] {
        let text = of(mode, operation).to_text();
        assert!(text.contains(line) && !text.contains("their records stay"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 88), "{text}");
    }
    let short = asked(Found { equal: 400, different: 90, absent: 5 });
    let report = report_of(Mode::Rebuild, &totals, &short, |_| {});
    assert_eq!(report.verdict, Verdict::Unbalanced, "a row is not accounted for");
    assert!(report.to_text().contains("495  is what the parts of \"asked for\" add up to"));
    let sent = [job(0, Collected { sent: 496, updated: 496, ..Collected::default() })];
    assert_eq!(report_of(Mode::Rebuild, &totals, &sent, |_| {}).verdict, Verdict::Unbalanced);
}
