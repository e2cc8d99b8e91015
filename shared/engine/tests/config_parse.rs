//! What a sync file may say, and what is answered when it says something else.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::{
    Class, Failure,
    config::{Api, ConfigErrors, Cursor, Guard, Operation, Share, Sync, Value},
    contract::ColumnKind,
    document::Watermark,
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
    assert_eq!((sync.load.api, sync.load.waves, &sync.load.group_by), (Api::Auto, 4, &None));
    let tenth = Share::Percent(10);
    assert_eq!((sync.quota.keep_api_calls, sync.quota.keep_batches), (tenth, tenth));
    assert_eq!(sync.model.cursor, None);
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
        (
            with("  table: DB.S.T", "  table: DB.S.T\n  cursor: {overlap: 5}"),
            3,
            "the key `column` is missing",
        ),
        (
            with("  table: DB.S.T", "  table: DB.S.T\n  cursor: {column: U, overlap: -5}"),
            3,
            "expected a whole number",
        ),
        (GOOD.to_owned() + "quota:\n  keep_batches: 101%\n", 11, "a share such as `10%`, is expected"),
        (GOOD.to_owned() + "quota:\n  keep_api_calls: many\n", 11, "a share such as `10%`, is expected"),
        (GOOD.to_owned() + "load:\n  api: soap\n", 11, "`soap` is not possible here"),
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
        (with("  field: Key__c", "  field: id"), "key.field", 5, "`upsert` needs an external id"),
        (with(model, "  table: T\n  cursor: {column: ''}"), "model.cursor.column", 3, "empty"),
        (GOOD.to_owned() + "load:\n  waves: 11\n", "load.waves", 11, "out of range"),
        (GOOD.to_owned() + "load:\n  waves: 0\n", "load.waves", 11, "out of range"),
        (GOOD.to_owned() + "load:\n  group_by: Nam\n", "load.group_by", 11, "`Nam` is no key of `mapping`"),
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

/// The good file with another operation and key field, and with or without the mapping.
fn operated(operation: &str, field: &str, mapped: bool) -> String {
    let text = with("  object: Account", &format!("  object: Account\n  operation: {operation}"));
    let text = text.replace("Key__c", field);
    if mapped { text } else { text.replace("mapping:\n  Name: C_NAME\n", "") }
}

/// P14, P19: an update is no upsert, and an upsert is never by `Id`.
#[test]
fn each_operation_has_its_key_and_its_mapping() {
    for (word, operation, field, mapped) in [
        ("upsert", Operation::Upsert, "Key__c", true),
        ("insert", Operation::Insert, "Key__c", true),
        ("update", Operation::Update, "Id", true),
        ("delete", Operation::Delete, "Id", false),
        ("hard_delete", Operation::HardDelete, "Id", false),
    ] {
        let sync = Sync::parse("a.yaml", &operated(word, field, mapped)).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((sync.destination.operation, operation.word()), (operation, word));
        let vendor = if word == "hard_delete" { "hardDelete" } else { word };
        assert_eq!(operation.vendor(), vendor);
        let other = if field == "Id" { "Key__c" } else { "Id" };
        let told = errors(&operated(word, other, mapped));
        assert_eq!(told.problems.iter().map(|problem| &problem.path).collect::<Vec<_>>(), ["key.field"]);
        let told = errors(&operated(word, field, !mapped));
        assert_eq!(told.problems.iter().map(|problem| &problem.path).collect::<Vec<_>>(), ["mapping"]);
    }
}

#[test]
fn what_an_operation_cannot_take_is_told_in_the_order_of_the_file() {
    let text = operated("hard_delete", "Key__c", true) + "load:\n  api: rest\n  group_by: Nam\n";
    assert_eq!(
        errors(&text).to_string(),
        "\
error: syncs/a.yaml:5:10
  |
5 |   field: Key__c
  |          ^^^^^^ `hard_delete` finds its records by `Id`, not by `Key__c`
  = hint: write `Id`; the column then holds Salesforce ids of 18 characters

error: syncs/a.yaml:9:1
  |
9 | mapping:
  | ^^^^^^^ `hard_delete` sends nothing but the key
  = hint: leave the mapping out

error: syncs/a.yaml:12:8
   |
12 |   api: rest
   |        ^^^^ `rest` has no `hard_delete`
   = hint: leave it out: records are deleted past the recycle bin in bulk only

error: syncs/a.yaml:13:13
   |
13 |   group_by: Nam
   |             ^^^ `Nam` is no key of `mapping`
   = hint: did you mean `Name`?
"
    );
    let text = operated("delete", "Id", false) + "load:\n  api: rest\n  group_by: Name\n";
    let told = errors(&text).to_string();
    assert!(told.ends_with("`Name` is no key of `mapping`\n   = hint: leave it out\n"), "{told}");
}

#[test]
fn allowances_and_the_cursor_are_read() {
    let text = with("  table: DB.S.T", "  table: T\n  cursor: {column: updated_at, overlap: 300}")
        + "load: {api: rest, group_by: Name, waves: 1}\nquota: {keep_api_calls: 500, keep_batches: 25%}\n";
    let sync = Sync::parse("a.yaml", &text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(sync.model.cursor, Some(Cursor { column: "updated_at".to_owned(), overlap: 300 }));
    assert_eq!((sync.load.api, sync.load.waves, sync.load.group_by.as_deref()), (Api::Rest, 1, Some("Name")));
    assert_eq!((sync.quota.keep_api_calls, sync.quota.keep_batches), (Share::Count(500), Share::Percent(25)));
    assert_eq!(serde_json::from_str::<Sync>(&serde_json::to_string(&sync).unwrap()).unwrap(), sync);
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

#[test]
fn a_cursor_asks_for_its_greatest_value_and_for_what_is_new() {
    let cursor = "  table: DB.S.T\n  cursor: {column: updated_at, overlap: 300}";
    let sync = Sync::parse("a.yaml", &with("  table: DB.S.T", cursor)).unwrap();
    let select = "SELECT \"ID\", \"C_NAME\", MAX(\"UPDATED_AT\") OVER () AS \"backhaul_cursor\"\nFROM (\n\
                  SELECT * FROM DB.S.T\n) AS \"model\"\n";
    let order = "ORDER BY COLLATE(\"ID\"::VARCHAR, 'utf8') NULLS LAST";
    assert_eq!(sync.statement(None).unwrap(), format!("{select}{order}"));
    let watermark = Watermark {
        value: "1767225600.123456789".to_owned(),
        kind: ColumnKind::TimestampNtz,
        holds_for: String::new(),
    };
    let since = "WHERE \"UPDATED_AT\" >= \
                 DATEADD(second, -300, '2026-01-01 00:00:00.123456789'::TIMESTAMP_NTZ)\n";
    assert_eq!(sync.statement(Some(&watermark)).unwrap(), format!("{select}{since}{order}"));
    // Without a cursor a watermark that is left over changes nothing.
    assert_eq!(good().statement(Some(&watermark)), good().statement(None));
}

#[test]
fn the_greatest_value_of_the_fresh_column_comes_with_each_row() {
    let fresh = "  table: DB.S.T\n  fresh: {column: loaded_at, max_age: 24h}";
    let sync = Sync::parse("a.yaml", &with("  table: DB.S.T", fresh)).unwrap();
    let statement = sync.statement(None).unwrap();
    let select = "SELECT \"ID\", \"C_NAME\", MAX(\"LOADED_AT\") OVER () AS \"backhaul_fresh\"\nFROM (\n";
    assert!(statement.starts_with(select), "{statement}");
    for max_age in ["soon", "24", "0h", "{hours: 1}"] {
        let text = with("  table: DB.S.T", &fresh.replace("24h", max_age));
        assert_eq!(errors(&text).problems.len(), 1, "{max_age}");
    }
}

#[test]
fn a_rail_is_a_number_or_a_share() {
    let guard = |text: &str| format!("{GOOD}guard:\n  {text}\n");
    let sync = Sync::parse("a.yaml", &guard("max_changes: 5%\n  min_rows: 7")).unwrap();
    assert_eq!(
        (sync.guard.max_changes, sync.guard.min_rows),
        (Some(Share::Percent(5)), Some(Share::Count(7)))
    );
    assert_eq!(good().guard, Guard::default());
    for (text, message) in [
        ("max_changes: 101%", "a whole number, or a share such as `10%`, is expected"),
        ("max_created: few", "a whole number, or a share such as `10%`, is expected"),
        ("max_chnages: 5", "unknown key `max_chnages`"),
    ] {
        assert_eq!(errors(&guard(text)).problems[0].message, message);
    }
}
