//! A sync joined to both ends: what it comes to, and everything that may not fit.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use backhaul_engine::{
    Class, Failure,
    config::{Cursor, Fresh, Operation, Span, Sync, Value},
    contract::{Column, ColumnKind, Field, Object, Objects, PicklistValue},
    mapping::{Assignment, Conversion, Mapping, Source, WhenNull},
};

fn field(name: &str, kind: &str) -> Field {
    Field {
        name: name.to_owned(),
        kind: kind.to_owned(),
        length: 255,
        precision: 18,
        scale: 2,
        digits: 9,
        createable: true,
        updateable: true,
        nillable: true,
        ..Field::default()
    }
}

fn external_id(name: &str) -> Field {
    Field { external_id: true, id_lookup: true, unique: true, ..field(name, "string") }
}

fn lookup(name: &str, relationship: &str, to: &[&str]) -> Field {
    Field {
        relationship_name: Some(relationship.to_owned()),
        reference_to: to.iter().map(|&name| name.to_owned()).collect(),
        ..field(name, "reference")
    }
}

fn picklist(name: &str, restricted: bool) -> Field {
    let value = |value: &str, active| PicklistValue { value: value.to_owned(), active };
    Field {
        restricted_picklist: restricted,
        picklist_values: vec![value("O", true), value("F", true), value("X", false)],
        ..field(name, "picklist")
    }
}

fn object(name: &str, fields: Vec<Field>) -> Object {
    Object { name: name.to_owned(), createable: true, updateable: true, deletable: true, fields }
}

fn destination() -> Object {
    object(
        "Order__c",
        vec![
            Field {
                createable: false,
                updateable: false,
                nillable: false,
                id_lookup: true,
                ..field("Id", "id")
            },
            Field { id_lookup: true, ..field("Name", "string") },
            external_id("Order_Key__c"),
            Field { external_id: true, ..field("Number_Key__c", "double") },
            Field { external_id: true, auto_number: true, createable: false, ..field("Auto__c", "string") },
            Field { case_sensitive: true, ..external_id("Exact_Key__c") },
            field("Total__c", "currency"),
            field("Count__c", "int"),
            field("Paid__c", "boolean"),
            field("Day__c", "date"),
            field("Moment__c", "datetime"),
            picklist("Status__c", true),
            picklist("Open_Status__c", false),
            Field { restricted_picklist: true, ..field("Many__c", "multipicklist") },
            Field { calculated: true, createable: false, updateable: false, ..field("Formula__c", "string") },
            Field { updateable: false, ..field("Once__c", "string") },
            Field { createable: false, updateable: false, ..field("Hidden__c", "string") },
            field("BillingAddress", "address"),
            field("Loc__c", "location"),
            field("Blob__c", "base64"),
            lookup("Account__c", "Account__r", &["Account"]),
            lookup("OwnerId", "Owner", &["Group", "User"]),
            lookup("WhatId", "What", &["A", "B", "C", "D", "E"]),
        ],
    )
}

fn objects() -> Objects {
    let user =
        object("User", vec![external_id("Username"), external_id("Shared__c"), field("Title", "string")]);
    let group = object("Group", vec![external_id("Shared__c"), field("Email", "email")]);
    let account = object("Account", vec![external_id("Customer_Key__c"), field("Name", "string")]);
    let all = [destination(), user, group, account];
    Objects(all.into_iter().map(|object| (object.name.clone(), object)).collect())
}

fn column(name: &str, kind: ColumnKind, scale: Option<u32>) -> Column {
    Column { name: name.to_owned(), kind, scale }
}

fn columns() -> Vec<Column> {
    vec![
        column("ID", ColumnKind::Fixed, Some(0)),
        column("T", ColumnKind::Text, None),
        column("AMOUNT", ColumnKind::Fixed, Some(2)),
        column("D", ColumnKind::Date, None),
        column("TS", ColumnKind::TimestampNtz, Some(9)),
        column("mixedCase", ColumnKind::Text, None),
        column("TWICE", ColumnKind::Text, None),
        column("TWICE", ColumnKind::Text, None),
        column("ODD", ColumnKind::Other("vector".to_owned()), None),
    ]
}

fn sync(key: (&str, &str), mapping: &[(&str, &str)]) -> Sync {
    let mut sync = Sync::parse(
        "a.yaml",
        "model: {table: T}\nkey: {column: ID, field: Order_Key__c}\ndestination: {object: Order__c}\nmapping: {Name: T}\n",
    )
    .unwrap();
    (sync.key.column, sync.key.field) = (key.0.to_owned(), key.1.to_owned());
    sync.mapping = mapping.iter().map(|(header, written)| ((*header).to_owned(), value(written))).collect();
    sync
}

/// `=text` is a constant, everything else a column.
fn value(written: &str) -> Value {
    match written.strip_prefix('=') {
        Some(constant) => Value::Constant { value: constant.to_owned() },
        None => Value::Column { column: written.to_owned(), when_null: WhenNull::Keep },
    }
}

const KEY: (&str, &str) = ("ID", "Order_Key__c");

fn resolve(key: (&str, &str), mapping: &[(&str, &str)]) -> Result<Mapping, Failure> {
    Mapping::resolve(&sync(key, mapping), &columns(), &objects())
}

/// Message and hint of the failure.
fn fault(key: (&str, &str), mapping: &[(&str, &str)]) -> String {
    let failure = resolve(key, mapping).expect_err("the mapping has a fault");
    assert_eq!(failure.class, Class::Configuration);
    failure.to_string()
}

#[test]
fn the_key_comes_first_and_the_others_by_their_header() {
    let mapping =
        resolve(KEY, &[("Total__c", "amount"), ("Account__r.Customer_Key__c", "T"), ("Name", "T")]).unwrap();
    let headers: Vec<_> = mapping.assignments.iter().map(|assignment| assignment.header.as_str()).collect();
    assert_eq!(headers, ["Order_Key__c", "Account__r.Customer_Key__c", "Name", "Total__c"]);
    assert_eq!((mapping.key.column, &mapping.key.kind, mapping.key.fold_case), (0, &ColumnKind::Fixed, true));
    assert_eq!(
        mapping.assignments[0],
        Assignment {
            header: "Order_Key__c".to_owned(),
            source: Source::Column { index: 0, kind: ColumnKind::Fixed, scale: Some(0) },
            conversion: Conversion::Text { max_chars: 255 },
            when_null: WhenNull::Refuse,
        }
    );
    assert_eq!(
        mapping.assignments[3].source,
        Source::Column { index: 2, kind: ColumnKind::Fixed, scale: Some(2) }
    );
    assert_eq!(mapping.assignments[3].when_null, WhenNull::Keep);
}

#[test]
fn a_key_field_that_tells_case_apart_is_not_folded() {
    assert!(!resolve(("T", "Exact_Key__c"), &[("Name", "T")]).unwrap().key.fold_case);
}

#[test]
fn the_type_of_the_field_decides_the_conversion() {
    let list = || vec!["O".to_owned(), "F".to_owned()];
    for (header, column, conversion) in [
        ("Name", "T", Conversion::Text { max_chars: 255 }),
        ("Total__c", "AMOUNT", Conversion::Decimal { precision: 18, scale: 2 }),
        ("Count__c", "ID", Conversion::Integer { digits: 9 }),
        ("Paid__c", "=true", Conversion::Boolean),
        ("Day__c", "D", Conversion::Date),
        ("Moment__c", "TS", Conversion::DateTime),
        ("Status__c", "T", Conversion::Picklist { values: list() }),
        ("Open_Status__c", "T", Conversion::Text { max_chars: 255 }),
        ("Many__c", "T", Conversion::MultiPicklist { values: vec![] }),
        ("Account__c", "T", Conversion::RecordId),
        ("Account__r.Customer_Key__c", "T", Conversion::Text { max_chars: 255 }),
    ] {
        let mapping =
            resolve(KEY, &[(header, column)]).unwrap_or_else(|failure| panic!("{header}: {failure}"));
        assert_eq!(mapping.assignments[1].conversion, conversion, "{header}");
    }
}

#[test]
fn columns_are_found_by_the_rule_of_identifiers() {
    for written in ["T", "t", "\"T\"", "\"mixedCase\""] {
        assert!(resolve(KEY, &[("Name", written)]).is_ok(), "{written}");
    }
    for (written, message) in [
        ("mixedCase", "the model has no column `MIXEDCASE` (hint: the column is spelt `mixedCase`"),
        ("\"t\"", "the model has no column `t`"),
        ("AMUONT", "the model has no column `AMUONT` (hint: did you mean `AMOUNT`?)"),
        ("TWICE", "the model has more than one column `TWICE`"),
    ] {
        let fault = fault(KEY, &[("Name", written)]);
        assert!(fault.starts_with(&format!("`mapping.Name`: {message}")), "{fault}");
    }
}

/// P17: a text that is looked up as a number would find another record, or none.
#[test]
fn a_key_must_be_usable_on_both_sides() {
    for (key, message) in [
        (("D", "Order_Key__c"), "`key.column`: column `D` is a `date`"),
        (("AMOUNT", "Order_Key__c"), "`key.column`: column `AMOUNT` has digits after the point"),
        (("T", "Number_Key__c"), "`key`: column `T` is text, field `Number_Key__c` is a number"),
        (("GONE", "Order_Key__c"), "`key.column`: the model has no column `GONE`"),
        (
            ("ID", "Order_Kee__c"),
            "`key.field`: `Order__c` has no field `Order_Kee__c` (hint: did you mean `Order_Key__c`?)",
        ),
        (("ID", "Total__c"), "`key.field`: field `Total__c` is not an external id"),
        (("ID", "Auto__c"), "`key.field`: field `Auto__c` cannot be written"),
        (("ID", "Id"), "`key.field`: field `Id` cannot be written"),
    ] {
        let fault = fault(key, &[("Count__c", "ID")]);
        assert!(fault.starts_with(message), "{fault}");
    }
    assert!(resolve(("ID", "Number_Key__c"), &[("Name", "T")]).is_ok());
    assert!(resolve(("T", "Name"), &[("Count__c", "ID")]).is_ok());
}

#[test]
fn a_field_must_exist_and_be_writable() {
    for (header, column, message) in [
        ("total__c", "AMOUNT", "`Order__c` has no field `total__c` (hint: it is spelt `Total__c`"),
        ("Totl__c", "AMOUNT", "`Order__c` has no field `Totl__c` (hint: did you mean `Total__c`?)"),
        ("Website", "T", "`Order__c` has no field `Website` (hint: correct the name"),
        ("Formula__c", "T", "field `Formula__c` is a formula"),
        ("Auto__c", "T", "field `Auto__c` is numbered by Salesforce"),
        ("Once__c", "T", "field `Once__c` cannot be written on update"),
        ("Hidden__c", "T", "field `Hidden__c` cannot be written"),
        (
            "BillingAddress",
            "T",
            "field `BillingAddress` is a `address` (hint: write its parts instead: `BillingStreet`",
        ),
        ("Loc__c", "T", "field `Loc__c` is a `location` (hint: write its parts instead: `Loc__Latitude__s`"),
        ("Blob__c", "T", "field `Blob__c` is a `base64`, which cannot be loaded"),
        ("Paid__c", "D", "column `D` is a `date`, field `Paid__c` is a `boolean`"),
        ("Day__c", "ODD", "column `ODD` is a `vector`, field `Day__c` is a `date`"),
        ("Paid__c", "=yes", "the constant `yes` is "),
        ("Status__c", "=X", "the constant `X` is "),
    ] {
        let fault = fault(KEY, &[(header, column)]);
        assert!(fault.starts_with(&format!("`mapping.{header}`: {message}")), "{fault}");
    }
}

#[test]
fn a_relationship_header_is_written_as_salesforce_wants_it() {
    for (written, header) in [
        ("Account__r.Customer_Key__c", "Account__r.Customer_Key__c"),
        ("Account:Account__r.Customer_Key__c", "Account__r.Customer_Key__c"),
        ("User:Owner.Username", "User:Owner.Username"),
        ("Owner.Username", "User:Owner.Username"),
        ("Group:Owner.Shared__c", "Group:Owner.Shared__c"),
    ] {
        let mapping =
            resolve(KEY, &[(written, "T")]).unwrap_or_else(|failure| panic!("{written}: {failure}"));
        assert_eq!(mapping.assignments[1].header, header);
    }
}

#[test]
fn a_relationship_header_must_lead_to_an_external_id() {
    for (header, message) in [
        (
            "Acount__r.Customer_Key__c",
            "`Order__c` has no lookup `Acount__r` (hint: did you mean `Account__r`?)",
        ),
        (
            "Account__c.Customer_Key__c",
            "`Order__c` has no lookup `Account__c` (hint: did you mean `Account__r`?)",
        ),
        ("OwnerId.Username", "`Order__c` has no lookup `OwnerId` (hint: did you mean `Owner`?)"),
        (
            "User:Account__r.Customer_Key__c",
            "lookup `Account__r` does not point to `User` (hint: it points to `Account` only",
        ),
        (
            "Account:Owner.Username",
            "lookup `Owner` does not point to `Account` (hint: put one of `Group`, `User`",
        ),
        ("Owner.Shared__c", "lookup `Owner` points to several types (hint: put one of `Group`, `User`"),
        ("What.Key__c", "lookup `What` points to several types"),
        ("A:What.Key__c", "the parent object `A` is not known"),
        ("Account__r.Customer_Kee__c", "`Account` has no field `Customer_Kee__c` (hint: did you mean"),
        ("Account__r.Name", "field `Name` of `Account` is not an external id"),
        ("User:Owner.Title", "field `Title` of `User` is not an external id"),
    ] {
        let fault = fault(KEY, &[(header, "T")]);
        assert!(fault.starts_with(&format!("`mapping.{header}`: {message}")), "{fault}");
    }
}

#[test]
fn a_field_is_written_once() {
    let fault = fault(KEY, &[("Account__c", "T"), ("Account__r.Customer_Key__c", "T")]);
    assert!(fault.starts_with(
        "`mapping.Account__r.Customer_Key__c`: field `Account__c` is written by `mapping.Account__c`"
    ));
}

#[test]
fn fields_that_a_create_needs_are_named() {
    let required = |name: &str| Field { nillable: false, ..field(name, "string") };
    let mut objects = objects();
    let order = objects.0.get_mut("Order__c").unwrap();
    order.fields.extend([required("First__c"), required("Second__c")]);
    order.fields.push(Field { nillable: false, defaulted_on_create: true, ..field("Flag__c", "boolean") });
    order.fields.push(Field { nillable: false, ..lookup("Parent__c", "Parent__r", &["Account"]) });
    let fault = |mapping| Mapping::resolve(&sync(KEY, mapping), &columns(), &objects).map_err(|f| f.message);
    assert_eq!(
        fault(&[("Name", "T")]),
        Err("`mapping`: `Order__c` cannot be created without `First__c`, `Second__c`, `Parent__c`".to_owned())
    );
    assert!(fault(&[("First__c", "T"), ("Second__c", "=x"), ("Parent__r.Customer_Key__c", "T")]).is_ok());
}

#[test]
fn an_object_must_be_known_and_open_for_an_upsert() {
    let mut objects = objects();
    objects.0.get_mut("Order__c").unwrap().updateable = false;
    let failure = Mapping::resolve(&sync(KEY, &[("Name", "T")]), &columns(), &objects).unwrap_err();
    assert!(
        failure.message.starts_with("`destination.object`: the user may not update records of `Order__c`")
    );
    let failure =
        Mapping::resolve(&sync(KEY, &[("Name", "T")]), &columns(), &Objects(BTreeMap::new())).unwrap_err();
    assert_eq!(failure.message, "`destination.object`: object `Order__c` is not known");
}

/// Salesforce ids as the key of another operation than an upsert.
fn operated(operation: Operation, mapping: &[(&str, &str)]) -> Sync {
    let key = if operation.is_by_id() { ("T", "Id") } else { KEY };
    let mut sync = sync(key, mapping);
    sync.destination.operation = operation;
    sync
}

#[test]
fn each_operation_needs_the_rights_it_uses_and_no_others() {
    for (operation, mapping, needs) in [
        (Operation::Upsert, &[("Name", "T")][..], &["create", "update"][..]),
        (Operation::Insert, &[("Name", "T")], &["create"]),
        (Operation::Update, &[("Name", "T")], &["update"]),
        (Operation::Delete, &[], &["delete"]),
        (Operation::HardDelete, &[], &["delete"]),
    ] {
        for verb in ["create", "update", "delete"] {
            let mut objects = objects();
            let order = objects.0.get_mut("Order__c").unwrap();
            match verb {
                "create" => order.createable = false,
                "update" => order.updateable = false,
                _ => order.deletable = false,
            }
            let resolved = Mapping::resolve(&operated(operation, mapping), &columns(), &objects);
            let told = resolved.as_ref().err().map(|failure| failure.message.clone());
            let message = format!("`destination.object`: the user may not {verb} records of `Order__c`");
            assert_eq!(told, needs.contains(&verb).then_some(message), "{operation:?}");
            assert!(resolved.is_err() || resolved.unwrap().operation == operation);
        }
    }
}

#[test]
fn an_operation_by_id_has_the_record_id_as_its_key() {
    let mapping = Mapping::resolve(&operated(Operation::Delete, &[]), &columns(), &objects()).unwrap();
    let [key] = mapping.assignments.as_slice() else { panic!("more than the key") };
    assert_eq!((key.header.as_str(), &key.conversion), ("Id", &Conversion::RecordId));
    assert_eq!(key.when_null, WhenNull::Refuse);
    assert!(!mapping.key.fold_case, "an id has one spelling");

    let mut sync = operated(Operation::Update, &[("Name", "T")]);
    sync.key.column = "ID".to_owned();
    let failure = Mapping::resolve(&sync, &columns(), &objects()).unwrap_err();
    assert_eq!(failure.message, "`key`: column `ID` is a `fixed`, field `Id` is a `id`");
}

#[test]
fn an_operation_writes_only_fields_that_it_can_write() {
    let mut objects = objects();
    let order = objects.0.get_mut("Order__c").unwrap();
    order.fields.push(Field { createable: false, ..field("Later__c", "string") });
    for (operation, field, message) in [
        (Operation::Insert, "Once__c", None),
        (Operation::Insert, "Later__c", Some("cannot be written on create")),
        (Operation::Insert, "Hidden__c", Some("cannot be written on create")),
        (Operation::Update, "Once__c", Some("cannot be written on update")),
        (Operation::Update, "Later__c", None),
        (Operation::Update, "Formula__c", Some("is a formula")),
        (Operation::Upsert, "Later__c", Some("cannot be written on create")),
        (Operation::Upsert, "Hidden__c", Some("cannot be written")),
    ] {
        let resolved = Mapping::resolve(&operated(operation, &[(field, "T")]), &columns(), &objects);
        let told = resolved.err().map(|failure| failure.message);
        let expected = message.map(|message| format!("`mapping.{field}`: field `{field}` {message}"));
        assert_eq!(told, expected, "{operation:?}");
    }
}

#[test]
fn only_what_creates_records_needs_the_required_fields() {
    let mut objects = objects();
    let order = objects.0.get_mut("Order__c").unwrap();
    order.fields.push(Field { nillable: false, ..field("First__c", "string") });
    for operation in [Operation::Upsert, Operation::Insert, Operation::Update] {
        let resolved = Mapping::resolve(&operated(operation, &[("Name", "T")]), &columns(), &objects);
        assert_eq!(resolved.is_err(), operation.creates(), "{operation:?}");
    }
}

#[test]
fn the_parent_of_a_group_is_found_under_the_header_that_is_sent() {
    let mut sync = sync(KEY, &[("Owner.Username", "T"), ("Name", "T"), ("Total__c", "AMOUNT")]);
    for (written, header) in [("Owner.Username", "User:Owner.Username"), ("Name", "Name")] {
        sync.load.group_by = Some(written.to_owned());
        let mapping = Mapping::resolve(&sync, &columns(), &objects()).unwrap();
        assert_eq!(mapping.assignments[mapping.group_by.unwrap()].header, header);
    }
    sync.load.group_by = None;
    assert_eq!(Mapping::resolve(&sync, &columns(), &objects()).unwrap().group_by, None);
}

#[test]
fn a_cursor_is_a_timestamp_a_date_or_a_whole_number() {
    let resolved = |kind, scale| {
        let mut sync = sync(KEY, &[("Name", "T")]);
        sync.model.cursor = Some(Cursor { column: "seen".to_owned(), overlap: 0 });
        let columns = [columns(), vec![column("backhaul_cursor", kind, scale)]].concat();
        Mapping::resolve(&sync, &columns, &objects())
    };
    for (kind, scale) in [
        (ColumnKind::Fixed, Some(0)),
        (ColumnKind::Date, None),
        (ColumnKind::TimestampNtz, Some(9)),
        (ColumnKind::TimestampLtz, Some(3)),
        (ColumnKind::TimestampTz, Some(9)),
    ] {
        assert!(resolved(kind.clone(), scale).is_ok(), "{kind:?}");
    }
    for (kind, scale, what) in [
        (ColumnKind::Fixed, Some(2), "has digits after the point"),
        (ColumnKind::Real, None, "is a `real`"),
        (ColumnKind::Text, None, "is a `text`"),
        (ColumnKind::Time, Some(9), "is a `time`"),
        (ColumnKind::Boolean, None, "is a `boolean`"),
    ] {
        let failure = resolved(kind, scale).unwrap_err();
        assert_eq!(failure.class, Class::Configuration);
        assert_eq!(failure.message, format!("`model.cursor.column`: column `SEEN` {what}"));
    }
}

#[test]
fn a_timestamp_or_a_date_says_how_old_the_model_is() {
    let resolved = |kind| {
        let mut sync = sync(KEY, &[("Name", "T")]);
        sync.model.fresh = Some(Fresh { column: "loaded".to_owned(), max_age: Span(60) });
        let columns = [columns(), vec![column("backhaul_fresh", kind, None)]].concat();
        Mapping::resolve(&sync, &columns, &objects())
    };
    for kind in
        [ColumnKind::Date, ColumnKind::TimestampNtz, ColumnKind::TimestampLtz, ColumnKind::TimestampTz]
    {
        assert!(resolved(kind.clone()).is_ok(), "{kind:?}");
    }
    for (kind, what) in [(ColumnKind::Fixed, "fixed"), (ColumnKind::Text, "text"), (ColumnKind::Time, "time")]
    {
        let failure = resolved(kind).unwrap_err();
        assert_eq!(failure.message, format!("`model.fresh.column`: column `LOADED` is a `{what}`"));
    }
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let failure = resolve(("GONE", "Total__c"), &[("name", "T"), ("Paid__c", "D"), ("Owner.Nope", "GONE")])
        .unwrap_err();
    assert_eq!(
        failure.message.lines().map(|line| line.split(": ").next().unwrap()).collect::<Vec<_>>(),
        [
            "6 problems",
            "- `key.column`",
            "- `key.field`",
            "- `mapping.Owner.Nope`",
            "- `mapping.Owner.Nope`",
            "- `mapping.Paid__c`",
            "- `mapping.name`",
        ]
    );
}

#[test]
fn parents_are_described_after_the_destination() {
    let sync = sync(
        KEY,
        &[
            ("Account__r.Customer_Key__c", "T"),
            ("Owner.Username", "T"),
            ("C:What.Key__c", "T"),
            ("Name", "T"),
        ],
    );
    assert_eq!(sync.objects_to_describe(None), ["Order__c"]);
    let mut known = Objects(BTreeMap::from([("Order__c".to_owned(), destination())]));
    assert_eq!(sync.objects_to_describe(Some(&known)), ["Account", "C", "Group", "User"]);
    known.0.insert("C".to_owned(), object("C", vec![]));
    assert_eq!(sync.objects_to_describe(Some(&known)), ["Account", "Group", "User"]);
    assert!(!sync.objects_to_describe(Some(&objects())).contains(&"Account".to_owned()));
}

/// The sample tables as Snowflake types them, the objects with the fields that the syncs assume.
#[test]
fn the_shipped_syncs_fit_the_sample_tables() {
    use ColumnKind::{Date, Fixed, Text};
    let number = |name: &str, precision, scale| Field { precision, scale, ..field(name, "double") };
    let name = |length| Field { length, nillable: false, ..field("Name", "string") };
    let account = object(
        "Account",
        vec![
            name(255),
            Field { length: 20, ..external_id("Customer_Key__c") },
            field("Phone", "phone"),
            field("BillingStreet", "textarea"),
            field("AnnualRevenue", "currency"),
            field("Description", "textarea"),
            picklist("Market_Segment__c", true),
            number("Nation_Key__c", 3, 0),
        ],
    );
    let order = object(
        "Order__c",
        vec![
            Field { createable: false, updateable: false, auto_number: true, ..name(80) },
            Field { length: 20, ..external_id("Order_Key__c") },
            lookup("Account__c", "Account__r", &["Account"]),
            picklist("Status__c", true),
            field("Total_Price__c", "currency"),
            field("Order_Date__c", "date"),
            field("Priority__c", "string"),
            field("Clerk__c", "string"),
            field("Comment__c", "textarea"),
        ],
    );
    let objects = Objects([account, order].map(|object| (object.name.clone(), object)).into());
    let kind = |name: &str| match name {
        "C_CUSTKEY" | "C_NATIONKEY" | "O_ORDERKEY" | "O_CUSTKEY" => (Fixed, Some(0)),
        "C_ACCTBAL" | "O_TOTALPRICE" => (Fixed, Some(2)),
        "O_ORDERDATE" => (Date, None),
        _ => (Text, None),
    };
    for (file, text, fields) in [
        ("customers.yaml", include_str!("../../../syncs/customers.yaml"), 8),
        ("orders.yaml", include_str!("../../../syncs/orders.yaml"), 8),
    ] {
        let sync = Sync::parse(file, text).unwrap_or_else(|errors| panic!("{errors}"));
        let columns: Vec<Column> =
            sync.columns().iter().map(|name| column(name, kind(name).0, kind(name).1)).collect();
        let mapping =
            Mapping::resolve(&sync, &columns, &objects).unwrap_or_else(|failure| panic!("{file}: {failure}"));
        assert_eq!(mapping.assignments.len(), fields, "{file}");
        assert_eq!(mapping.key.column, 0, "{file}");
        let first = format!("SELECT \"{}\", ", columns[0].name);
        assert!(sync.statement(None).unwrap().starts_with(&first), "{file}");
    }
}
