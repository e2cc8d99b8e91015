//! The schema for editors and the pages about configuration and errors follow the code; the syncs are valid.
//!
//! `UPDATE=1 cargo test -p backhaul-engine --test config_docs` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use backhaul_engine::{
    config::{Sync, schema},
    taxonomy::{self, Next, RowClass},
};
use serde_json::Value as Json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_default()
}

/// Compares the file with what it should hold, or writes it when `UPDATE` is set.
fn is_up_to_date(file: &str, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(file), expected).unwrap();
    }
    assert!(read(file) == expected, "`{file}` is out of date: run this test with UPDATE=1");
}

#[test]
fn the_schema_is_up_to_date() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    is_up_to_date("syncs/schema.json", &text);
}

#[test]
fn the_page_is_up_to_date() {
    is_up_to_date("docs/configuration.md", &page());
}

#[test]
fn the_page_of_errors_is_up_to_date() {
    is_up_to_date("docs/errors.md", &errors_page());
}

/// The classes, with what a person has to know of each.
const CLASSES: [(RowClass, &str, &str); 6] = [
    (RowClass::Transient, "Transient", "Trouble of the platform. Nobody has to do anything while it passes."),
    (
        RowClass::Contention,
        "Contention",
        "Another writer held the record or its parent. Later waves go one job at a time; `load.group_by` keeps rows of one parent together.",
    ),
    (
        RowClass::Quota,
        "Quota",
        "An allowance of the org is used up. `quota` keeps a part of it for everyone else.",
    ),
    (
        RowClass::Data,
        "Data",
        "Salesforce refuses the content. Mend it in the warehouse, in the mapping, or in the org.",
    ),
    (
        RowClass::Permission,
        "Permission",
        "The running user lacks a right. Where a fifth of a run's rows or more meet this class or the next, the sync stands still until a person has run it.",
    ),
    (RowClass::Configuration, "Configuration", "The sync or the org is set up wrongly."),
];

fn errors_page() -> String {
    let mut page = String::from(ERRORS_HEAD);
    for (class, name, about) in CLASSES {
        let _ = write!(
            page,
            "\n## {name}\n\n{about}\n\n| code | what it means | what becomes of the row |\n| --- | --- | --- |\n"
        );
        for code in taxonomy::codes().filter(|code| taxonomy::classify(code) == class) {
            let _ = writeln!(page, "| `{code}` | {} | {} |", taxonomy::sentence(code), becomes(code));
        }
    }
    page
}

fn becomes(code: &str) -> &'static str {
    match (taxonomy::next(code, false), taxonomy::next(code, true)) {
        (Next::Again, Next::Held) => "goes again in later waves, then is held",
        (Next::Again, _) => "goes again in later waves, then with the next run",
        (Next::Held, _) => "is held",
        (Next::NextRun, _) => "goes with the next run",
    }
}

const ERRORS_HEAD: &str = "\
# Errors

<!-- Written by `cargo test -p backhaul-engine --test config_docs` with UPDATE=1. -->

What Salesforce refuses is told apart by its **code**, never by its text: a text is in the language of the user
and may quote the record. Each code has a class, and the class says what becomes of the row.

- A row that **goes again** is sent in a later wave of the same run, at most `load.waves` in all.
- A row that **goes with the next run** is not in the baseline, so the next run finds it changed.
- A row that is **held** is not sent again before its content or the mapping changes, or a person releases it.

A code that is not listed is taken for one of the class Data: its row is held and shown, rather than sent in vain
by every run. The codes are those of the vendor's pages on
[core data types](https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_concepts_core_data_objects.htm)
and on [errors of bulk jobs](https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/asynch_api_reference_errors.htm).
";

#[test]
fn the_syncs_are_valid() {
    for file in ["syncs/customers.yaml", "syncs/orders.yaml"] {
        let text = read(file);
        if let Err(errors) = Sync::parse(file, &text) {
            panic!("{errors}");
        }
        assert!(text.starts_with("# yaml-language-server: $schema=schema.json\n"), "{file}");
    }
}

#[test]
fn the_example_of_the_page_is_valid_and_has_every_key() {
    let sync = Sync::parse("example.yaml", EXAMPLE).unwrap_or_else(|errors| panic!("{errors}"));
    let written = serde_json::to_value(sync).unwrap();
    let schema = schema();
    for (section, shape) in sections(&schema) {
        for key in shape["properties"].as_object().unwrap().keys() {
            let path = format!("/{section}/{key}").replace('.', "/").replace("//", "/");
            let place = written.pointer(&path).unwrap_or(&Json::Null);
            // Either excludes what the example has.
            let absent = [("model", "table"), ("destination", "on_removed")].contains(&(&*section, key));
            assert_eq!(place.is_null(), absent, "{section}.{key}");
        }
    }
}

const EXAMPLE: &str = r##"description: Contacts of the warehouse, under their accounts.
owner: data-platform@example.com
schedule:
  cron: 15 7-19 * * MON-FRI
  timezone: Europe/Berlin
model:
  query: |
    SELECT *
    FROM CONTACTS
    WHERE email IS NOT NULL
  warehouse: SYNC_WH
  role: SYNC_ROLE
  database: ANALYTICS
  schema: CRM
  timeout_seconds: 900
  cursor:
    column: updated_at
    overlap: 300 # what is committed up to five minutes late is read all the same
  fresh:
    column: loaded_at
    max_age: 26h # the warehouse loads once a day
key:
  column: contact_id # read as CONTACT_ID
  field: Contact_Key__c
destination:
  object: Contact
  operation: upsert
mapping:
  LastName:
    column: last_name
    when_null: refuse
  Email: email
  MobilePhone:
    column: '"mobilePhone"' # a name that was created in double quotes
    when_null: keep
  LeadSource:
    value: Warehouse
  Account.Customer_Key__c: customer_id # a lookup by external id
  User:Owner.Username: account_manager # a lookup with several types
load:
  max_job_bytes: 50000000
  concurrency: 2
  api: bulk
  group_by: Account.Customer_Key__c # contacts of one account stay together
  waves: 3
  canary:
    rows: 500 # go ahead; the rest follows when Salesforce has taken them
    max_rejected: 2%
quota:
  keep_api_calls: 20%
  keep_batches: 1000
guard:
  max_changes: 20%
  max_created: 5000
  max_removed: 5%
  max_cleared: 500
  min_rows: 90%
"##;

const HEAD: &str = "\
<!-- Generated from the types: `UPDATE=1 cargo test -p backhaul-engine --test config_docs`. -->
# Configuration

One YAML file in `syncs/` per sync. Its file name without `.yaml` is the name of the sync: at most 40
lower-case letters, digits and hyphens, beginning with a letter. `backhaul validate` checks a file without
asking either vendor; a run checks it against both before it sends anything, and tells all that does not
fit at once. The comment `# yaml-language-server: $schema=schema.json` on the first line lets an editor
complete and check keys.
";

const VALUES: &str = "\
Each key is a field of the object, spelt as Salesforce spells it, or a lookup of a parent by an external id:

| written | writes |
| --- | --- |
| `Name` | the field |
| `Account__r.Customer_Key__c` | the lookup `Account__c`, to the record whose `Customer_Key__c` has the value |
| `User:Owner.Username` | the same for a lookup that has several types |

Each value is the name of a column, or one of the long forms:

| written | meaning |
| --- | --- |
| `C_NAME` | the column; a NULL or an empty text clears the field |
| `{column: C_NAME, when_null: clear}` | the same |
| `{column: C_NAME, when_null: keep}` | a NULL leaves the field as it is |
| `{column: C_NAME, when_null: refuse}` | a row with a NULL is not sent; the report tells it |
| `{value: snowflake}` | the same value for every record, as it is written: `007` stays `007` |

Column names are read as Snowflake reads them: `c_name` is `C_NAME`. A name that was created in double
quotes is written in double quotes, which YAML wants quoted once more: `'\"cName\"'`. The type of the field
decides what a value must be; a column of a type that cannot become it is refused before the run sends
anything, a value that does not fit makes its record invalid.
";

fn page() -> String {
    let schema = schema();
    let mut page = HEAD.to_owned();
    for (section, shape) in sections(&schema) {
        let title = if section.is_empty() { "The file".to_owned() } else { format!("`{section}`") };
        writeln!(page, "\n## {title}\n\n{}\n", sentence(shape)).unwrap();
        page.push_str("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        for (key, value) in in_order(shape) {
            writeln!(page, "{}", row(&schema, shape, &section, key, value)).unwrap();
        }
        if section.is_empty() {
            write!(page, "\n## `mapping`\n\n{VALUES}").unwrap();
        }
    }
    write!(page, "\n## Every key at once\n\n```yaml\n{EXAMPLE}```\n").unwrap();
    page
}

/// The file itself and each key that holds further keys of its own.
fn sections(schema: &Json) -> Vec<(String, &Json)> {
    let mut sections = vec![(String::new(), schema)];
    let mut next = 0;
    while let Some((outer, shape)) = sections.get(next).cloned() {
        let inner = in_order(shape).into_iter().filter_map(|(key, value)| {
            let target = resolve(schema, value);
            let name = if outer.is_empty() { key.clone() } else { format!("{outer}.{key}") };
            target["properties"].is_object().then_some((name, target))
        });
        let inner: Vec<_> = inner.collect();
        // What a section holds follows it.
        let place = if outer.is_empty() { sections.len() } else { next + 1 };
        sections.splice(place..place, inner);
        next += 1;
    }
    sections
}

/// The keys of a shape in the order in which the example has them, which is the order to write them in.
fn in_order(shape: &Json) -> Vec<(&String, &Json)> {
    let mut keys: Vec<_> = shape["properties"].as_object().unwrap().iter().collect();
    keys.sort_by_key(|(key, _)| EXAMPLE.lines().position(|line| line.trim().starts_with(&format!("{key}:"))));
    keys
}

fn resolve<'s>(schema: &'s Json, value: &'s Json) -> &'s Json {
    let value = value["anyOf"].get(0).filter(|first| first["$ref"].is_string()).unwrap_or(value);
    match value["$ref"].as_str() {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

fn row(schema: &Json, shape: &Json, section: &str, key: &str, value: &Json) -> String {
    let required =
        shape["required"].as_array().is_some_and(|required| required.iter().any(|name| name == key));
    let default = match &value["default"] {
        Json::Null if required => "required".to_owned(),
        Json::Null | Json::Object(_) => String::new(),
        default => format!("`{}`", default.as_str().map_or_else(|| default.to_string(), str::to_owned)),
    };
    let target = resolve(schema, value);
    let mut meaning = sentence(if value["description"].is_string() { value } else { target });
    if let Some(example) = value["examples"].get(0).and_then(Json::as_str) {
        write!(meaning, " Example: `{example}`.").unwrap();
    }
    format!("| `{key}` | {} | {default} | {meaning} |", kind(section, key, target))
}

fn kind(section: &str, key: &str, target: &Json) -> String {
    if target["properties"].is_object() || key == "mapping" {
        // The anchor of a title has no points.
        return format!("[keys](#{}{key})", section.replace('.', ""));
    }
    if target["anyOf"].is_array() {
        return "number, or share".to_owned();
    }
    if let Some(choices) = target["oneOf"].as_array() {
        let names: Vec<String> = choices.iter().map(choice).collect();
        return names.join(", ");
    }
    let name = target["type"].as_array().map_or(&target["type"], |types| &types[0]).as_str().unwrap();
    match (name, target["minimum"].as_u64(), target["maximum"].as_u64()) {
        ("integer", Some(least), Some(most)) => format!("{least} to {most}"),
        ("integer", Some(0), None) => "whole number".to_owned(),
        ("string", ..) => "text".to_owned(),
        other => panic!("`{key}` has no word for {other:?}"),
    }
}

/// A word, or a word with a list.
fn choice(choice: &Json) -> String {
    choice["const"].as_str().map_or_else(
        || format!("`{{{}: […]}}`", choice["required"][0].as_str().unwrap()),
        |word| format!("`{word}`"),
    )
}

fn sentence(value: &Json) -> String {
    value["description"]
        .as_str()
        .unwrap_or_else(|| panic!("no description: {value}"))
        .replace("\n\n", " ")
        .replace('\n', " ")
}
