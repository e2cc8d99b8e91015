//! The guard rails: what stops a run, and what a person is told then.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests as well")]

use backhaul_engine::{
    Class, RunRef,
    config::Sync,
    document::{Judged, Mapped, Rail},
    guard::{Known, check, judge},
};

const HEAD: &str = "\
model:
  table: DB.S.T
  fresh: {column: UPDATED_AT, max_age: 24h}
key: {column: ID, field: Key__c}
mapping: {Name: N}
";

/// A sync with these rails.
fn sync(operation: &str, guard: &str) -> Sync {
    let text =
        format!("{HEAD}destination: {{object: Account, operation: {operation}}}\nguard: {{{guard}}}\n");
    Sync::parse("a.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The model has 90 rows of the 100 of the baseline: 20 are new, 15 changed, 30 are gone.
fn totals() -> Mapped {
    let cleared = [("Phone".to_owned(), 12), ("Fax".to_owned(), 3)].into();
    Mapped { read: 90, unchanged: 55, added: 20, changed: 15, removed: 30, cleared, ..Mapped::default() }
}

const KNOWN: Known = Known { baseline: 100, narrowed: false, age: Some(86_400) };

/// The rails that a run goes past.
fn over(sync: &Sync, totals: &Mapped, known: Known) -> Vec<Rail> {
    judge(sync, totals, known).into_iter().filter(Judged::is_over).map(|judged| judged.rail).collect()
}

#[test]
fn each_rail_stops_just_past_its_limit() {
    use Rail::{MaxChanges, MaxCleared, MaxCreated, MaxRemoved, MinRows};
    for (guard, rails) in [
        ("max_removed: 30, max_changes: 35, max_created: 20, max_cleared: 12, min_rows: 90", vec![]),
        ("max_removed: 30%, max_changes: 35%, max_created: 20%, max_cleared: 12%, min_rows: 90%", vec![]),
        ("max_removed: 29", vec![MaxRemoved]),
        ("max_removed: 29%", vec![MaxRemoved]),
        ("max_removed: 100%, max_changes: 34", vec![MaxChanges]),
        ("max_removed: 100%, max_changes: 34%", vec![MaxChanges]),
        ("max_removed: 100%, max_created: 19%", vec![MaxCreated]),
        ("max_removed: 100%, max_cleared: 11", vec![MaxCleared]),
        ("max_removed: 100%, min_rows: 91", vec![MinRows]),
        (
            "max_removed: 0, max_changes: 0, max_created: 0, max_cleared: 0, min_rows: 91",
            vec![MinRows, MaxChanges, MaxCreated, MaxRemoved, MaxCleared],
        ),
        ("", vec![MaxRemoved]),
    ] {
        assert_eq!(over(&sync("upsert", guard), &totals(), KNOWN), rails, "{guard}");
    }
}

#[test]
fn a_share_is_of_the_rows_read_while_there_is_no_baseline() {
    let known = Known { baseline: 0, ..KNOWN };
    let first = Mapped { read: 200, added: 200, ..Mapped::default() };
    for (guard, rails) in [
        ("max_created: 99%", vec![Rail::MaxCreated]),
        ("max_created: 100%, max_changes: 100%, min_rows: 100%", vec![]),
        ("max_changes: 199", vec![Rail::MaxChanges]),
        ("", vec![]),
    ] {
        assert_eq!(over(&sync("upsert", guard), &first, known), rails, "{guard}");
    }
}

#[test]
fn an_empty_model_stops_what_writes_the_state_of_its_records() {
    let gone = Mapped { removed: 5, ..Mapped::default() };
    let of = |operation: &str, known| over(&sync(operation, ""), &gone, known);
    assert_eq!(of("upsert", KNOWN), [Rail::EmptyModel]);
    assert_eq!(of("insert", KNOWN), [], "the model of an insert runs dry");
    assert_eq!(of("upsert", Known { baseline: 0, ..KNOWN }), []);
    assert_eq!(of("upsert", Known { narrowed: true, ..KNOWN }), [], "nothing was new");
    let one_left = Mapped { read: 1, unchanged: 1, removed: 10, ..Mapped::default() };
    assert_eq!(over(&sync("upsert", ""), &one_left, KNOWN), []);
    let narrowed = Known { narrowed: true, ..KNOWN };
    assert_eq!(
        over(&sync("upsert", "min_rows: 91, max_changes: 34"), &totals(), narrowed),
        [Rail::MaxChanges]
    );
}

#[test]
fn a_stale_model_stops_the_run_and_one_without_rows_has_no_age() {
    let quiet = Mapped { read: 100, unchanged: 100, ..Mapped::default() };
    for (age, rails) in [(None, vec![]), (Some(86_400), vec![]), (Some(86_401), vec![Rail::MaxAge])] {
        assert_eq!(over(&sync("upsert", ""), &quiet, Known { age, ..KNOWN }), rails, "{age:?}");
    }
}

#[test]
fn the_failure_names_every_rail_by_how_much_and_what_to_do() {
    let run = RunRef { sync: "customers".parse().unwrap(), run: "20261121T000300Z".parse().unwrap() };
    let guard = "max_changes: 30, max_created: 20, max_cleared: 10, min_rows: 95";
    let judged = judge(&sync("upsert", guard), &totals(), Known { age: Some(93_784), ..KNOWN });
    let failure = check(&run, &judged).unwrap_err();
    assert_eq!(failure.class, Class::Guard);
    insta::assert_snapshot!(failure.message.replace("; ", ";\n"), @r#"
    nothing was sent: the model has 90 rows, 5 fewer than the 95 of `guard.min_rows`;
    the newest row is 1 d 2 h old, and `model.fresh.max_age` allows 24h;
    35 rows would be sent, 5 more than the 30 of `guard.max_changes`;
    30 keys left the model, 20 more than the 10 of `guard.max_removed`;
    12 cells of `Phone` would be sent as NULL, 2 more than the 10 of `guard.max_cleared`
    "#);
    insta::assert_snapshot!(failure.hint.unwrap(), @r#"if that is right, release this plan: `backhaul run customers --run 20261121T000300Z --release`, or the function `plan` with {"sync":"customers","run":"20261121T000300Z","wave":1,"release":true} and a redrive of the execution; if not, mend the model, and the next run begins anew"#);
    let within: Vec<_> = judged.into_iter().filter(|judged| !judged.is_over()).collect();
    let sentences: Vec<_> = within.iter().map(Judged::sentence).collect();
    assert_eq!(
        sentences,
        ["the model is not empty", "20 rows would be new, and `guard.max_created` allows 20"]
    );
    assert_eq!(check(&run, &within), Ok(()));
}

#[test]
fn the_verdicts_are_written_as_rail_limit_and_found() {
    let judged = judge(&sync("upsert", "max_cleared: 5%"), &totals(), Known { age: None, ..KNOWN });
    let json = serde_json::to_value(&judged).unwrap();
    assert_eq!(
        json,
        serde_json::json!([
            {"rail": "empty_model", "limit": 1, "found": 90},
            {"rail": "max_removed", "limit": 10, "found": 30},
            {"rail": "max_cleared", "limit": 5, "found": 12, "field": "Phone"},
        ])
    );
    assert_eq!(serde_json::from_value::<Vec<Judged>>(json).unwrap(), judged);
}
