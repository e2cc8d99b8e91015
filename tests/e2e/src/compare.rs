//! The org's records against the warehouse's rows, field by field.
//!
//! The comparison reads the warehouse in process and knows how a value looks on both sides by itself:
//! it shares nothing with the code that carried the value over.

use std::collections::BTreeMap;

use emulators::{salesforce::OrgServer, snowflake::SnowflakeServer};

/// A field and the SQL expression of its value as text in the form in which the org keeps it.
pub type Field = (&'static str, &'static str);

/// What `customers.yaml` says, said again.
pub const CUSTOMERS: [Field; 8] = [
    ("Customer_Key__c", "C_CUSTKEY"),
    ("Name", "C_NAME"),
    ("Phone", "C_PHONE"),
    ("BillingStreet", "C_ADDRESS"),
    ("AnnualRevenue", "C_ACCTBAL"),
    ("Description", "C_COMMENT"),
    ("Market_Segment__c", "C_MKTSEGMENT"),
    ("Nation_Key__c", "C_NATIONKEY"),
];

/// What `orders.yaml` says, said again; the account is compared apart.
pub const ORDERS: [Field; 7] = [
    ("Order_Key__c", "O_ORDERKEY"),
    ("Status__c", "O_ORDERSTATUS"),
    ("Total_Price__c", "O_TOTALPRICE"),
    ("Order_Date__c", "O_ORDERDATE"),
    ("Priority__c", "O_ORDERPRIORITY"),
    ("Clerk__c", "O_CLERK"),
    ("Comment__c", "O_COMMENT"),
];

/// Asserts that every row of a table has a record with the same values, and tells how many were compared.
pub fn assert_equal(
    snowflake: &SnowflakeServer,
    org: &OrgServer,
    from: &str,
    object: &str,
    fields: &[Field],
) -> usize {
    let columns: Vec<_> = fields.iter().map(|(_, column)| *column).collect();
    let rows =
        snowflake.execute(&format!("SELECT {} FROM {from}", columns.join(", "))).expect("the table is there");
    let key = fields[0].0;
    let mut records: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    org.visit(object, |record| {
        records.insert(record.get(key).cloned().unwrap_or_default(), record);
    });
    for row in &rows.rows {
        let key = row[0].clone().expect("a key is not null");
        let record = records.get(&key).unwrap_or_else(|| panic!("{object} {key} is not in the org"));
        for ((field, _), cell) in fields.iter().zip(row) {
            let (theirs, ours) = (
                record.get(*field).map(|value| plain(field, value)),
                cell.as_ref().map(|value| plain(field, value)),
            );
            assert_eq!(theirs, ours, "{field} of {object} {key}");
        }
    }
    rows.rows.len()
}

/// Numbers without trailing zeros, dates as days: the two sides may write them differently.
fn plain(field: &str, value: &str) -> String {
    match field {
        "AnnualRevenue" | "Total_Price__c" | "Nation_Key__c" => match value.split_once('.') {
            Some((whole, fraction)) => {
                let fraction = fraction.trim_end_matches('0');
                if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
            }
            None => value.to_owned(),
        },
        "Order_Date__c" => match value.parse::<i32>() {
            Ok(days) => (jiff::civil::date(1970, 1, 1) + jiff::Span::new().days(days)).to_string(),
            Err(_) => value.to_owned(),
        },
        _ => value.to_owned(),
    }
}
