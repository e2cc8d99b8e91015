//! The demo: both stand-ins, real rows, and what Backhaul makes of a warehouse that changes.

use std::{fs, path::PathBuf};

use clap::Args;
use console::style;
use emulators::{
    salesforce::{Org, OrgConfig, OrgServer},
    snowflake::{Config, Snowflake, SnowflakeServer},
    tpch::{self, Table},
};
use engine::{Failure, RunRef, document::Mode, report::Verdict};
use indicatif::HumanCount;
use store::Store;

use crate::{
    commands::{begin, carry_out},
    driver::Parts,
};

/// What the demo may be told.
#[derive(Debug, Args)]
pub struct Options {
    /// TPC-H scale factor: 1 makes 150,000 customers.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// The folder of syncs.
    #[arg(long, default_value = "syncs")]
    syncs: PathBuf,
    /// The folder that serves as the bucket. What an earlier demo left in it is removed.
    #[arg(long, default_value = "target/demo")]
    bucket: PathBuf,
}

/// What happens in the warehouse between the two runs: rows change, appear and disappear, and one new
/// customer has a market segment that the org does not know, and an order.
const CHANGES: [(&str, &str); 5] = [
    (
        "changed",
        "UPDATE SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER SET C_COMMENT = 'Asked for a visit; \"soon\", she said.' \
         WHERE C_CUSTKEY BETWEEN 100 AND 399",
    ),
    ("gone", "DELETE FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER WHERE C_CUSTKEY BETWEEN 1000 AND 1011"),
    (
        "new",
        "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER \
         SELECT C_CUSTKEY + 9000000, 'Newcomer', C_ADDRESS, C_NATIONKEY, C_PHONE, C_ACCTBAL, C_MKTSEGMENT, C_COMMENT \
         FROM SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER WHERE C_CUSTKEY BETWEEN 1 AND 24",
    ),
    (
        "with a market segment that the org does not know",
        "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER VALUES \
         (9999999, 'Rocket Works', '1 Launch Road', 7, '17-555-0100', 711.56, 'AEROSPACE', 'First of its kind')",
    ),
    (
        "of that customer",
        "INSERT INTO SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ORDERS VALUES \
         (9999999, 9999999, 'O', 1234.50, '1998-08-02', '1-URGENT', 'Clerk#000000001', 0, 'Two rockets')",
    ),
];

/// Shows the whole of Backhaul without an account.
///
/// # Errors
/// What went wrong with a stand-in or with a run.
pub async fn demo(options: &Options) -> Result<(), Failure> {
    let stage = Stage::set(options).await?;
    stage.heading(1, "customers, for the first time");
    stage.run("customers").await?;
    stage.heading(2, "the warehouse changes");
    stage.change()?;
    stage.heading(3, "customers again: only what changed is sent");
    stage.run("customers").await?;
    stage.heading(4, "orders, each to its account by external id");
    stage.run("orders").await?;
    stage.farewell();
    Ok(())
}

struct Stage<'a> {
    options: &'a Options,
    snowflake: SnowflakeServer,
    org: OrgServer,
    parts: Parts,
}

impl<'a> Stage<'a> {
    async fn set(options: &'a Options) -> Result<Self, Failure> {
        if options.bucket.exists() {
            fs::remove_dir_all(&options.bucket)
                .map_err(|error| unusable("the bucket of an earlier demo", error))?;
        }
        println!("{}\n", style("Backhaul demo").bold());
        let snowflake =
            Snowflake::start(Config::default()).map_err(|error| unusable("the Snowflake stand-in", error))?;
        let org =
            Org::start(OrgConfig::default()).await.map_err(|error| unusable("the org stand-in", error))?;
        let parts = Parts {
            // A demo need not survive a power cut: its folder is not flushed to the disk object by object.
            store: Store::scratch(&options.bucket),
            snowflake: snowflake::Client::new(document(&snowflake.secret_json())?)?,
            salesforce: salesforce::Client::new(document(&org.secret_json())?)?,
        };
        let stage = Self { options, snowflake, org, parts };
        stage.fill_warehouse()?;
        Ok(stage)
    }

    fn fill_warehouse(&self) -> Result<(), Failure> {
        let load = |table| {
            tpch::load_tpch(&self.snowflake, self.options.scale, &[table])
                .map_err(|error| unusable("the sample data", error))
        };
        let customers = load(Table::Customer)?;
        let orders = load(Table::Orders { since: Some("1998-07-01".to_owned()) })?;
        let line = |name: &str, url: String, what: String| {
            println!("{:>10} {}  {what}", style(name).green().bold(), style(url).dim());
        };
        let what =
            format!("TPC-H: {} customers, {} recent orders", HumanCount(customers), HumanCount(orders));
        line("Snowflake", self.snowflake.url(), what);
        line("Salesforce", self.org.url(), "an empty org".to_owned());
        Ok(())
    }

    fn heading(&self, number: u32, what: &str) {
        println!("\n{} {}", style(format!("{number}.")).cyan().bold(), style(what).bold());
    }

    async fn run(&self, sync: &str) -> Result<Verdict, Failure> {
        let run: RunRef = begin(&self.parts, &self.options.syncs, sync.parse()?, Mode::Run).await?;
        carry_out(&self.parts, run, &self.options.bucket.display().to_string()).await
    }

    fn change(&self) -> Result<(), Failure> {
        for (what, sql) in CHANGES {
            let rows = self
                .snowflake
                .execute(sql)
                .map_err(|error| unusable("a change of the sample data", error))?;
            let table = if sql.contains(".ORDERS") { "order" } else { "customer" };
            println!("{:>10} {} {what}", "", crate::show::counted(rows.affected as usize, table));
        }
        Ok(())
    }

    fn farewell(&self) {
        let count = |object| HumanCount(self.org.count(object) as u64);
        println!(
            "The org holds {} accounts and {} orders. Every step of every run is in {}",
            style(count("Account")).bold(),
            style(count("Order__c")).bold(),
            style(format!("{}/", self.options.bucket.display())).bold()
        );
    }
}

fn document<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|_| Failure::bug("a stand-in gives a secret of another shape"))
}

fn unusable(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::configuration(format!("{what} cannot be used: {error}"))
}
