//! A full load of many rows through the function binaries, and what each process needed for it.
//!
//! `cargo run --release -p e2e --bin bench [ROWS]`: 1,000,000 rows unless told otherwise. TPC-H customers
//! leave the Snowflake stand-in, pass every function under the Lambda Runtime API with moto as S3, and
//! reach the org stand-in. Peak memory is what the operating system has counted for each process.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(clippy::float_arithmetic, reason = "a scale factor is no value of a record")]

use std::time::{Duration, Instant};

use e2e::{
    cloud::{Cloud, idle_definition},
    compare::{CUSTOMERS, assert_equal},
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use serde_json::{Value, json};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const CUSTOMERS_AT_SCALE_1: f64 = 150_000.0;

#[tokio::main]
async fn main() {
    let rows: u32 = std::env::args().nth(1).map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    println!("loading {rows} customers into the warehouse …");
    let org = OrgConfig { audit_limit: 0, ..OrgConfig::default() };
    let scale = f64::from(rows) / CUSTOMERS_AT_SCALE_1;
    let cloud = Cloud::deploy(Config::default(), org, scale, &idle_definition()).await;
    let mut bench = Bench { cloud, spent: Vec::new() };
    bench.run("20260101T000000Z").await;
    bench.print("every row is new");
    let change = format!("UPDATE {CUSTOMER} SET C_COMMENT = 'changed' WHERE C_CUSTKEY LIKE '%50'");
    let changed = bench.cloud.snowflake.execute(&change).expect("the table is there").affected;
    bench.spent.clear();
    bench.run("20260101T010000Z").await;
    bench.print(&format!("{changed} rows have changed; memory is the peak of both runs"));
    let equal = assert_equal(&bench.cloud.snowflake, &bench.cloud.org, CUSTOMER, "Account", &CUSTOMERS);
    println!("{equal} records of the org equal the warehouse's, field by field");
}

struct Bench {
    cloud: Cloud,
    /// Function, invocations, time.
    spent: Vec<(&'static str, u32, Duration)>,
}

impl Bench {
    /// Carries out a run by hand, one invocation after the other.
    async fn run(&mut self, run: &str) {
        let event = json!({"sync": "customers", "run": run});
        self.invoke("dispatch", &event).await;
        let extracted = self.until_done("extract", &event).await;
        let chunks = extracted["chunks"].as_u64().expect("a number of chunks");
        for chunk in 0..chunks {
            self.invoke("map", &with(&event, &[("chunk", chunk)])).await;
        }
        let plan = self.invoke("plan", &with(&event, &[("wave", 1)])).await;
        for job in plan["jobs"].as_array().expect("a list of jobs") {
            let event = with(&event, &[("wave", 1), ("job", job["job"].as_u64().expect("a number"))]);
            self.invoke("submit", &event).await;
            self.until_done("poll", &event).await;
            self.invoke("collect", &event).await;
        }
        self.invoke("plan", &with(&event, &[("wave", 2)])).await;
        for chunk in 0..chunks {
            self.invoke("settle", &with(&event, &[("chunk", chunk)])).await;
        }
        let ended = self.invoke("finish", &event).await;
        assert_eq!(ended["verdict"], "green", "the run did not end well");
    }

    async fn until_done(&mut self, function: &'static str, event: &Value) -> Value {
        loop {
            let answer = self.invoke(function, event).await;
            if answer["done"] == json!(true) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn invoke(&mut self, function: &'static str, event: &Value) -> Value {
        let began = Instant::now();
        let answer = self.cloud.invoke(function, event).await;
        let took = began.elapsed();
        match self.spent.iter_mut().find(|(name, ..)| *name == function) {
            Some((_, calls, spent)) => {
                *calls += 1;
                *spent += took;
            }
            None => self.spent.push((function, 1, took)),
        }
        answer
    }

    fn print(&self, what: &str) {
        let peaks = self.cloud.lambda.peak_memory();
        println!("\n{what}\n{:<10} {:>6} {:>10} {:>12}", "function", "calls", "time", "peak memory");
        for (function, calls, spent) in &self.spent {
            let peak = peaks.get(*function).copied().unwrap_or_default() >> 20;
            println!("{function:<10} {calls:>6} {:>8.1} s {peak:>8} MiB", spent.as_secs_f64());
        }
    }
}

fn with(event: &Value, numbers: &[(&str, u64)]) -> Value {
    let mut event = event.clone();
    for (name, number) in numbers {
        event[*name] = json!(number);
    }
    event
}
