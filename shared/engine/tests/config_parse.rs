//! What a sync file may say, and what is answered when it says something else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::{
    Class, Failure,
    config::{ConfigErrors, Operation, Sync, Value},
    mapping::WhenNull,
};

const GOOD: &str = "\
model:
  table: DB.S.T
key:
  column: ID
  field: Key__c
destination:
  object: Account
mapping:
  Name: C_NAME
";

fn good() -> Sync {
    Sync::parse("a.yaml", GOOD).unwrap()
}

fn errors(text: &str) -> ConfigErrors {
    Sync::parse("syncs/a.yaml", text).expect_err("the text has a fault")
}

/// The good file with one line replaced by others.
fn with(line: &str, replacement: &str) -> String {
    assert!(GOOD.contains(line), "{line}");
    GOOD.replace(line, replacement)
}

#[test]
fn the_smallest_sync_gets_the_defaults() {
    let sync = good();
    assert_eq!(sync.model.table.as_deref(), Some("DB.S.T"));
    assert_eq!(sync.model.timeout_seconds, 3600);
    assert_eq!(sync.destination.operation, Operation::Upsert);
    assert_eq!((sync.load.max_job_bytes, sync.load.concurrency), (90_000_000, 4));
    assert_eq!(sync.schedule, None);
    let name = Value::Column { column: "C_NAME".to_owned(), when_null: WhenNull::Clear };
    assert_eq!(sync.mapping["Name"], name);
}

#[test]
fn a_value_is_a_column_or_a_constant_as_written() {
    let constant = |value: &str| Value::Constant { value: value.to_owned() };
    let column = |column: &str, when_null| Value::Column { column: column.to_owned(), when_null };
    for (written, value) in [
        ("C_NAME", column("C_NAME", WhenNull::Clear)),
        ("NO", column("NO", WhenNull::Clear)),
        ("'\"cName\"'", column("\"cName\"", WhenNull::Clear)),
        ("{column: C_NAME}", column("C_NAME", WhenNull::Clear)),
        ("{column: C_NAME, when_null: keep}", column("C_NAME", WhenNull::Keep)),
        ("{when_null: refuse, column: C_NAME}", column("C_NAME", WhenNull::Refuse)),
        ("{value: snowflake}", constant("snowflake")),
        ("{value: 007}", constant("007")),
        ("{value: 1.50}", constant("1.50")),
        ("{value: 99999999999999999999999999}", constant("99999999999999999999999999")),
        ("{value: true}", constant("true")),
        ("{value: No}", constant("No")),
        ("{value: 2026-01-31}", constant("2026-01-31")),
    ] {
        let text = with("Name: C_NAME", &format!("Name: {written}"));
        let sync = Sync::parse("a.yaml", &text).unwrap_or_else(|errors| panic!("{written}\n{errors}"));
        assert_eq!(sync.mapping["Name"], value, "{written}");
    }
}

#[test]
fn a_sync_survives_being_frozen_in_json_and_keeps_its_shape() {
    let text = GOOD.to_owned()
        + "  Phone: {column: P, when_null: keep}\n  Source__c: {value: 007}\nschedule:\n  cron: 0 * * * *\n";
    let sync = Sync::parse("a.yaml", &text).unwrap();
    let json = serde_json::to_value(&sync).unwrap();
    assert_eq!(json["mapping"]["Name"], "C_NAME");
    assert_eq!(json["mapping"]["Phone"], serde_json::json!({"column": "P", "when_null": "keep"}));
    assert_eq!(json["mapping"]["Source__c"], serde_json::json!({"value": "007"}));
    assert_eq!(serde_json::from_value::<Sync>(json.clone()).unwrap(), sync);
    assert_eq!(serde_json::from_str::<Sync>(&json.to_string()).unwrap(), sync);
}

#[test]
fn an_error_shows_the_line_with_a_caret_and_advice() {
    let text = with("  object: Account", "  object: Account\n  opration: upsert");
    assert_eq!(
        errors(&text).to_string(),
        "\
error: syncs/a.yaml:8:3
  |
8 |   opration: upsert
  |   ^^^^^^^^ unknown key `opration`
  = hint: did you mean `operation`?
"
    );
}

#[test]
fn every_unknown_key_is_told_at_once() {
    let text = with("  Name: C_NAME", "  Name: {colunm: C_NAME}\nlaod:\n  concurrency: 4\nzebra: 1");
    let messages: Vec<_> = errors(&text).problems.into_iter().map(|p| (p.path, p.hint.unwrap())).collect();
    let hint = |text: &str| text.to_owned();
    assert_eq!(messages[0], (hint("mapping.Name.colunm"), hint("did you mean `column`?")));
    assert_eq!(messages[1], (hint("laod"), hint("did you mean `load`?")));
    assert_eq!(messages[2].0, "zebra");
    assert!(messages[2].1.starts_with("possible are `description`"), "{}", messages[2].1);
    assert_eq!(messages.len(), 3);
}

#[test]
fn a_fault_of_structure_has_its_place() {
    for (text, line, message) in [
        (with("Name: C_NAME", "Name: C_NAME\n  Name: OTHER"), 10, "written twice"),
        (with("  Name: C_NAME", "  Name: [C_NAME]"), 9, "expected the name of a column"),
        (with("  Name: C_NAME", "  Name: 12"), 9, "expected the name of a column"),
        (with("  Name: C_NAME", "  Name: {value: null}"), 9, "one of `column` and `value` is missing"),
        (with("  Name: C_NAME", "  Name: {column: A, value: B}"), 9, "exclude each other"),
        (with("  Name: C_NAME", "  Name: {when_null: keep, value: B}"), 9, "stands with `column`"),
        (with("  Name: C_NAME", "  Name: {when_null: keep}"), 9, "one of `column` and `value` is missing"),
        (with("  Name: C_NAME", "  Name: {column: A, when_null: drop}"), 9, "`drop` is not possible here"),
        (with("  object: Account", "  object: Account\n  operation: merge"), 8, "`merge` is not possible"),
        (with("  column: ID\n", ""), 4, "the key `column` is missing"),
        (with("  table: DB.S.T", "  table: DB.S.T\n  timeout_seconds: soon"), 3, "expected"),
        (with("  table: DB.S.T", "  table: \"DB"), 3, "quoted scalar"),
        (GOOD.to_owned() + "---\na: 1\n", 10, "second YAML document"),
    ] {
        let errors = errors(&text);
        let problem = &errors.problems[0];
        let place = problem.place.as_ref().unwrap_or_else(|| panic!("no place: {errors}"));
        assert!(problem.message.contains(message), "{errors}");
        assert!(place.line.abs_diff(line) <= 1, "{line}: {errors}");
    }
}

#[test]
fn an_empty_file_is_answered_with_a_sentence() {
    for text in ["", "# nothing\n"] {
        let text = errors(text).to_string();
        assert!(text.starts_with("error: syncs/a.yaml"), "{text}");
    }
}

#[test]
fn every_rule_has_its_place_and_key() {
    let model = "  table: DB.S.T";
    for (text, path, line, message) in [
        (with(model, "  warehouse: W"), "model", 1, "one of `table` and `query` is missing"),
        (with(model, "  table: T\n  query: SELECT 1"), "model.query", 3, "exclude each other"),
        (with(model, "  table: a b"), "model.table", 2, "not the name of a table"),
        (with(model, "  query: SELECT 1;"), "model.query", 2, "semicolon"),
        (with(model, "  query: ''"), "model.query", 2, "empty"),
        (with(model, "  table: T\n  warehouse: ''"), "model.warehouse", 3, "empty"),
        (with(model, "  table: T\n  timeout_seconds: 0"), "model.timeout_seconds", 3, "out of range"),
        (with("  column: ID", "  column: ' '"), "key.column", 4, "empty"),
        (with("  field: Key__c", "  field: Key c"), "key.field", 5, "not the name of a field"),
        (with("  object: Account", "  object: A.B"), "destination.object", 7, "not the name of an object"),
        (with("mapping:\n  Name: C_NAME", "mapping: {}"), "mapping", 8, "no field is mapped"),
        (with("  Name: C_NAME", "  key__C: ID"), "mapping.key__C", 9, "mapped already"),
        (with("  Name: C_NAME", "  a.b.c: ID"), "mapping.a.b.c", 9, "not the name of a field"),
        (with("  Name: C_NAME", "  Name: ''"), "mapping.Name", 9, "empty"),
        (with("  Name: C_NAME", "  Name: {value: ''}"), "mapping.Name.value", 9, "not empty"),
        (with("  Name: C_NAME", "  Name: {value: '#N/A'}"), "mapping.Name.value", 9, "not empty"),
        (GOOD.to_owned() + "load:\n  concurrency: 51\n", "load.concurrency", 11, "out of range"),
        (GOOD.to_owned() + "load:\n  max_job_bytes: 999999\n", "load.max_job_bytes", 11, "out of range"),
        (GOOD.to_owned() + "load:\n  max_job_bytes: 100000001\n", "load.max_job_bytes", 11, "out of range"),
        (GOOD.to_owned() + "schedule:\n  cron: '* * * * * *'\n", "schedule.cron", 11, "six fields|6 fields"),
        (GOOD.to_owned() + "schedule:\n  cron: 61 * * * *\n", "schedule.cron", 11, "not a schedule"),
        (GOOD.to_owned() + "schedule:\n  cron: 0 0 30 2 *\n", "schedule.cron", 11, "never comes"),
        (
            GOOD.to_owned() + "schedule:\n  cron: 0 * * * *\n  timezone: Europe/Berlim\n",
            "schedule.timezone",
            12,
            "not a time zone",
        ),
    ] {
        let errors = errors(&text);
        let [problem] = errors.problems.as_slice() else { panic!("{errors}") };
        assert_eq!(problem.path, path, "{errors}");
        assert!(message.split('|').any(|message| problem.message.contains(message)), "{errors}");
        assert_eq!(problem.place.as_ref().map(|place| place.line), Some(line), "{errors}");
    }
}

#[test]
fn all_faults_of_meaning_are_told_at_once_in_the_order_of_the_file() {
    let text = "\
model:
  query: SELECT 1;
key:
  column: ID
  field: Key c
destination:
  object: Account
mapping:
  a.b.c: ID
load:
  concurrency: 0
";
    assert_eq!(
        errors(text).to_string(),
        "\
error: syncs/a.yaml:2:10
  |
2 |   query: SELECT 1;
  |          ^^^^^^^^^ a query has no semicolon
  = hint: the query is put in parentheses as it is

error: syncs/a.yaml:5:10
  |
5 |   field: Key c
  |          ^^^^^ `Key c` is not the name of a field
  = hint: write the API name, such as `Customer_Key__c`

error: syncs/a.yaml:9:3
  |
9 |   a.b.c: ID
  |   ^^^^^ `a.b.c` is not the name of a field
  = hint: write `Field`, `Relationship.Field` or `Type:Relationship.Field`

error: syncs/a.yaml:11:16
   |
11 |   concurrency: 0
   |                ^ 0 is out of range
   = hint: write a number from 1 to 50
"
    );
    let failure = Failure::from(errors(text));
    assert_eq!(failure.class, Class::Configuration);
    assert!(
        failure
            .message
            .starts_with("`syncs/a.yaml`: 4 problems\n- `model.query`: a query has no semicolon (line 2,")
    );
}

#[test]
fn one_fault_becomes_a_failure_with_its_hint_apart() {
    let failure = Failure::from(errors(&with("  object: Account", "  object: A.B")));
    let message =
        "`syncs/a.yaml`: `destination.object`: `A.B` is not the name of an object (line 7, column 11)";
    assert_eq!(failure.message, message);
    assert_eq!(failure.hint.as_deref(), Some("write the API name, such as `Account`"));
}

#[test]
fn the_statement_takes_the_used_columns_in_key_order() {
    let text = with(
        "  Name: C_NAME",
        "  Name: c_name\n  Alias__c: id\n  Odd__c: '\"odd \"\"Name\"'\n  K__c: {value: 1}\n  Z__c: C_NAME",
    );
    let sync = Sync::parse("a.yaml", &text).unwrap();
    assert_eq!(
        sync.statement(None).unwrap(),
        "SELECT \"ID\", \"C_NAME\", \"odd \"\"Name\"\nFROM (\nSELECT * FROM DB.S.T\n) AS \"model\"\n\
         ORDER BY COLLATE(\"ID\"::VARCHAR, 'utf8') NULLS LAST"
    );
}

#[test]
fn a_comment_at_the_end_of_the_query_swallows_nothing() {
    let text = with("  table: DB.S.T", "  query: |\n    SELECT * FROM T -- all of it\n");
    let statement = Sync::parse("a.yaml", &text).unwrap().statement(None).unwrap();
    assert!(statement.contains("\nSELECT * FROM T -- all of it\n) AS \"model\"\n"), "{statement}");
}
