//! Customers and orders, from the warehouse to the org and again after the warehouse has changed.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use e2e::{
    compare::{CUSTOMERS, ORDERS, assert_equal},
    world::{World, run_ref},
};
use engine::{
    document::{Head, Mapped, Mode, Plan},
    layout,
    report::{Report, Verdict},
};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const ORDER: &str =
    "(SELECT * FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS WHERE O_ORDERDATE >= '1998-07-01') AS O";

async fn report(world: &World, sync: &str, run: &str) -> Report {
    world.document(&layout::report_json(&run_ref(sync, run))).await
}

#[tokio::test]
async fn the_org_equals_the_warehouse_after_the_first_run() {
    let world = World::small().await;
    let output = world.run("customers", "20260101T000000Z").await.unwrap();
    assert_eq!(output.verdict, Verdict::Green);
    let report = report(&world, "customers", "20260101T000000Z").await;
    assert_eq!((report.counts.read, report.counts.sent, report.counts.created), (1500, 1500, 1500));
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 1500);
    assert_eq!(world.org.write_counts("Account"), [1500, 0, 0]);
}

#[tokio::test]
async fn the_second_run_sends_only_what_changed() {
    let world = World::small().await;
    world.run("customers", "20260101T000000Z").await.unwrap();
    change(&world, "UPDATE {} SET C_PHONE = '12-345-678-9012' WHERE C_CUSTKEY BETWEEN 11 AND 40");
    change(&world, "DELETE FROM {} WHERE C_CUSTKEY BETWEEN 100 AND 104");
    change(
        &world,
        "INSERT INTO {} SELECT C_CUSTKEY + 5000000, 'O''Brien \"Bob\", Ltd', C_ADDRESS, C_NATIONKEY, C_PHONE, \
         -0.50, C_MKTSEGMENT, NULL FROM {} WHERE C_CUSTKEY < 8",
    );
    let output = world.run("customers", "20260101T010000Z").await.unwrap();
    assert_eq!(output.verdict, Verdict::Green);
    let report = report(&world, "customers", "20260101T010000Z").await;
    let counts = &report.counts;
    assert_eq!((counts.read, counts.unchanged, counts.sent), (1502, 1465, 37));
    assert_eq!((counts.created, counts.updated), (7, 30));
    let plan: Plan = world.document(&layout::plan(&run_ref("customers", "20260101T010000Z"), 1)).await;
    assert_eq!((plan.totals.added, plan.totals.changed, plan.totals.removed), (7, 30, 5));
    assert_eq!(assert_equal(&world.snowflake, &world.org, CUSTOMER, "Account", &CUSTOMERS), 1502);
    assert_eq!(world.org.write_counts("Account"), [1507, 30, 0]);
}

#[tokio::test]
async fn a_run_without_changes_makes_no_job() {
    let world = World::small().await;
    world.run("customers", "20260101T000000Z").await.unwrap();
    let jobs = world.org.jobs().len();
    world.run("customers", "20260101T010000Z").await.unwrap();
    let report = report(&world, "customers", "20260101T010000Z").await;
    assert_eq!((report.counts.unchanged, report.counts.sent), (1500, 0));
    assert_eq!(world.org.jobs().len(), jobs);
}

#[tokio::test]
async fn a_row_that_the_org_cannot_take_is_refused_and_shown() {
    let world = World::small().await;
    change(&world, "UPDATE {} SET C_MKTSEGMENT = 'AEROSPACE' WHERE C_CUSTKEY = 77");
    let output = world.run("customers", "20260101T000000Z").await.unwrap();
    assert_eq!(output.verdict, Verdict::Attention);
    let report = report(&world, "customers", "20260101T000000Z").await;
    assert_eq!((report.counts.read, report.counts.invalid, report.counts.created), (1500, 1, 1499));
    let text = report.to_text();
    assert!(text.contains("77") && text.contains("Market_Segment__c"), "{text}");
    assert!(!text.contains("AEROSPACE"), "a value of a record is shown:\n{text}");
    assert!(world.org.record_by("Account", "Customer_Key__c", "77").is_none());
}

#[tokio::test]
async fn orders_find_their_account_by_external_id() {
    let world = World::small().await;
    change(&world, "DELETE FROM {} WHERE C_CUSTKEY = 1");
    change(&world, "UPDATE SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS SET O_CUSTKEY = 2 WHERE O_CUSTKEY = 1");
    world.run("customers", "20260101T000000Z").await.unwrap();
    let output = world.run("orders", "20260101T000000Z").await.unwrap();
    assert_eq!(output.verdict, Verdict::Green, "{:?}", report(&world, "orders", "20260101T000000Z").await);
    let compared = assert_equal(&world.snowflake, &world.org, ORDER, "Order__c", &ORDERS);
    assert!(compared > 100, "only {compared} orders");
    let account = |key: &str| world.org.record_by("Account", "Customer_Key__c", key).unwrap()["Id"].clone();
    let rows = world.snowflake.execute(&format!("SELECT O_ORDERKEY, O_CUSTKEY FROM {ORDER}")).unwrap().rows;
    for row in rows {
        let (order, customer) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
        let record = world.org.record_by("Order__c", "Order_Key__c", order).unwrap();
        assert_eq!(record["Account__c"], account(customer), "order {order}");
    }
}

#[tokio::test]
async fn an_order_without_its_account_goes_again_until_the_account_is_there() {
    let world = World::small().await;
    world.run("customers", "20260101T000000Z").await.unwrap();
    let orphan = "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS VALUES \
                  (9999999, 9999999, 'O', 1234.50, '1998-08-02', '1-URGENT', 'Clerk', 0, 'no such customer')";
    world.snowflake.execute(orphan).unwrap();
    let first = world.run("orders", "20260101T000000Z").await.unwrap();
    assert_eq!(first.verdict, Verdict::Attention);
    let counts = report(&world, "orders", "20260101T000000Z").await.counts;
    assert_eq!((counts.rejected, counts.missing, counts.unprocessed), (1, 0, 0));

    change(
        &world,
        "INSERT INTO {} SELECT 9999999, C_NAME, C_ADDRESS, C_NATIONKEY, C_PHONE, C_ACCTBAL, \
                    C_MKTSEGMENT, C_COMMENT FROM {} WHERE C_CUSTKEY = 1",
    );
    world.run("customers", "20260101T010000Z").await.unwrap();
    let second = world.run("orders", "20260101T010000Z").await.unwrap();
    assert_eq!(second.verdict, Verdict::Green);
    let counts = report(&world, "orders", "20260101T010000Z").await.counts;
    assert_eq!((counts.sent, counts.created), (1, 1));
}

#[tokio::test]
async fn what_salesforce_refuses_is_held_until_it_changes() {
    let world = World::small().await;
    world.refuse(("Name", "Customer#000000007"), "FIELD_CUSTOM_VALIDATION_EXCEPTION", u32::MAX);
    world.run("customers", "20260101T000000Z").await.unwrap();
    let counts = report(&world, "customers", "20260101T000000Z").await.counts;
    assert_eq!((counts.created, counts.rejected), (1499, 1));

    let second = world.run("customers", "20260101T010000Z").await.unwrap();
    assert_eq!(second.verdict, Verdict::Attention);
    let counts = report(&world, "customers", "20260101T010000Z").await.counts;
    assert_eq!((counts.unchanged, counts.held, counts.sent), (1499, 1, 0), "a held row costs no call");

    change(&world, "UPDATE {} SET C_NAME = 'Renamed' WHERE C_CUSTKEY = 7");
    let third = world.run("customers", "20260101T020000Z").await.unwrap();
    assert_eq!(third.verdict, Verdict::Green);
    assert!(world.org.record_by("Account", "Customer_Key__c", "7").is_some());
}

#[tokio::test]
async fn a_plan_sends_nothing_and_commits_nothing() {
    let world = World::small().await;
    let run = world.begin("customers", "20260101T000000Z", Mode::Plan).await.unwrap();
    world.drive(run.clone()).await.unwrap();
    let plan: Plan = world.document(&layout::plan(&run, 1)).await;
    assert_eq!((plan.jobs.len(), plan.totals.added), (1, 1500));
    assert!(world.org.jobs().is_empty());
    assert_eq!(world.parts.store.get_json::<Head>(&layout::head(&run.sync)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_sent_is_the_plan_byte_for_byte() {
    let keep = emulators::salesforce::OrgConfig { keep_uploads: true, ..Default::default() };
    let world =
        World::with(emulators::snowflake::Config { partition_rows: Some(400), ..Default::default() }, keep)
            .await;
    let run = world.begin("customers", "20260101T000000Z", Mode::Run).await.unwrap();
    world.drive(run.clone()).await.unwrap();
    let plan: Plan = world.document(&layout::plan(&run, 1)).await;
    let mut planned = plan.header.clone().into_bytes();
    for fragment in &plan.jobs[0].fragments {
        let place = layout::mapped(&run, fragment.chunk, &fragment.file);
        planned.extend(world.parts.store.get(&place).await.unwrap().unwrap().bytes);
    }
    let job = &world.org.jobs()[0];
    assert_eq!(world.org.received_csv(&job.id).unwrap(), planned);
    assert_eq!(planned.len() as u64, plan.jobs[0].bytes);
}

#[tokio::test]
async fn every_chunk_owns_its_own_keys() {
    let mut world = World::small().await;
    world.chunk_rows = Some(400);
    let run = run_ref("customers", "20260101T000000Z");
    world.run("customers", run.run.as_str()).await.unwrap();
    let head: Head = world.document(&layout::head(&run.sync)).await;
    assert_eq!(head.run.as_ref(), Some(&run.run));
    assert_eq!(head.segments.iter().map(|segment| segment.rows).collect::<Vec<_>>(), [400, 400, 400, 300]);
    assert!(head.segments.windows(2).all(|pair| pair[0].last_key < pair[1].first_key));
    for (chunk, segment) in (0..).zip(&head.segments) {
        let mapped: Mapped = world.document(&layout::mapped_summary(&run, chunk)).await;
        assert_eq!(mapped.read, segment.rows);
    }
}

fn change(world: &World, sql: &str) {
    world.snowflake.execute(&sql.replace("{}", CUSTOMER)).unwrap();
}
