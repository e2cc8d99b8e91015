//! A full load of many rows through the function binaries, and what each process needed for it.
//!
//! `cargo run --release -p e2e --bin memory [ROWS]`: 1,000,000 rows unless told otherwise. TPC-H customers
//! leave the Snowflake stand-in, pass every function under the Lambda Runtime API with moto as S3, and
//! reach the org stand-in. Peak memory is what the operating system has counted for each process. Before that, what
//! Submit takes for its uploads is set beside bare PUTs of the same bytes.

#![expect(clippy::print_stdout, reason = "a measurement prints its table")]
#![expect(clippy::float_arithmetic, reason = "a scale factor is no value of a record")]

use std::time::{Duration, Instant};

use e2e::{
    cloud::{Cloud, idle_definition},
    compare::{CUSTOMERS, assert_equal},
    world::World,
};
use emulators::{salesforce::OrgConfig, snowflake::Config};
use engine::{JobRef, RunRef, document::Mode, layout};
use serde_json::{Value, json};

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const CUSTOMERS_AT_SCALE_1: f64 = 150_000.0;

#[tokio::main]
async fn main() {
    let rows: u32 = std::env::args().nth(1).map_or(1_000_000, |rows| rows.parse().expect("a number of rows"));
    println!("loading {rows} customers into the warehouse …");
    let org = OrgConfig { audit_limit: 0, ..OrgConfig::default() };
    let scale = f64::from(rows) / CUSTOMERS_AT_SCALE_1;
    uploads(scale).await;
    let cloud = Cloud::deploy(Config::default(), org, scale, &idle_definition()).await;
    let mut measured = Measured { cloud, spent: Vec::new() };
    measured.run("20260101T000000Z").await;
    measured.print("every row is new");
    let change = format!("UPDATE {CUSTOMER} SET C_COMMENT = 'changed' WHERE C_CUSTKEY LIKE '%50'");
    let changed = measured.cloud.snowflake.execute(&change).expect("the table is there").affected;
    measured.spent.clear();
    measured.run("20260101T010000Z").await;
    measured.print(&format!("{changed} rows have changed; memory is the peak of both runs"));
    let equal = assert_equal(&measured.cloud.snowflake, &measured.cloud.org, CUSTOMER, "Account", &CUSTOMERS);
    println!("{equal} records of the org equal the warehouse's, field by field");
}

struct Measured {
    cloud: Cloud,
    /// Function, invocations, time.
    spent: Vec<(&'static str, u32, Duration)>,
}

impl Measured {
    /// Carries out a run by hand, one invocation after the other.
    async fn run(&mut self, run: &str) {
        let event = json!({"sync": "customers", "run": run});
        self.invoke("dispatch", &event).await;
        let extracted = self.until_done("extract", &event).await;
        let chunks = extracted["chunks"].as_u64().expect("a number of chunks");
        for chunk in 0..chunks {
            self.invoke("map", &with(&event, &[("chunk", chunk)])).await;
        }
        let mut plan = self.invoke("plan", &with(&event, &[("wave", 1)])).await;
        while plan["next"] == "load" {
            let wave = number(&plan["wave"]);
            for job in plan["jobs"].as_array().expect("a list of jobs") {
                let event = with(&event, &[("wave", wave), ("job", number(&job["job"]))]);
                self.invoke("submit", &event).await;
                self.until_done("poll", &event).await;
                self.invoke("collect", &event).await;
            }
            plan = self.invoke("plan", &with(&event, &[("wave", number(&plan["next_wave"]))])).await;
        }
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

/// Submit's uploads from a folder as the bucket, and the same bytes put into jobs by nothing but an HTTP client.
async fn uploads(scale: f64) {
    let org = OrgConfig { audit_limit: 0, keep_uploads: true, ..OrgConfig::default() };
    let world = World::scaled(Config::default(), org, scale).await;
    let run = world.begin("customers", "20260101T000000Z", Mode::Run).await.expect("the sync is valid");
    let jobs = up_to_the_plan(&world, &run).await;
    let began = Instant::now();
    for job in 0..jobs {
        let event = submit::Event { sync: run.sync.clone(), run: run.run.clone(), wave: 1, job };
        submit::handle(&world.parts.store, &world.parts.salesforce, event).await.expect("the org takes it");
    }
    let ours = began.elapsed();
    let (bytes, bare) = bare_uploads(&world, &run, jobs).await;
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    println!(
        "{jobs} uploads, {mebibytes:.0} MiB: Submit takes {:.2} times as long as bare PUTs of the same bytes \
         ({:.0} and {:.0} MiB/s)",
        ours.as_secs_f64() / bare.as_secs_f64(),
        mebibytes / ours.as_secs_f64(),
        mebibytes / bare.as_secs_f64()
    );
}

async fn up_to_the_plan(world: &World, run: &RunRef) -> u32 {
    let (store, snowflake, salesforce) =
        (&world.parts.store, &world.parts.snowflake, &world.parts.salesforce);
    let chunks = loop {
        let output =
            extract::handle(store, snowflake, salesforce, run, None).await.expect("the model is there");
        if output.done {
            break output.chunks;
        }
    };
    for chunk in (0..).take(chunks) {
        let event = map::Event { sync: run.sync.clone(), run: run.run.clone(), chunk };
        map::handle(store, event).await.expect("the chunk is there");
    }
    let event = plan::Event { sync: run.sync.clone(), run: run.run.clone(), wave: 1, release: false };
    let output = plan::handle(store, salesforce, event).await.expect("the chunks are mapped");
    u32::try_from(output.jobs.len()).expect("few jobs")
}

/// Creates a job for each upload of a run, and tells how long the uploads took by themselves.
async fn bare_uploads(world: &World, run: &RunRef, jobs: u32) -> (u64, Duration) {
    let http = reqwest::Client::new();
    let (mut bytes, mut spent) = (0, Duration::ZERO);
    for job in 0..jobs {
        let place = layout::journal(run, JobRef { wave: 1, job }, "attempt-0.json");
        let attempt: Value = world.document(&place).await;
        let csv = world.org.received_csv(attempt["job"].as_str().expect("an id")).expect("uploads are kept");
        let (url, token) = bare_job(world, &http).await;
        bytes += csv.len() as u64;
        let began = Instant::now();
        let put = http.put(url).bearer_auth(token).header("content-type", "text/csv").body(csv);
        assert_eq!(put.send().await.expect("the org answers").status(), 201);
        spent += began.elapsed();
    }
    (bytes, spent)
}

/// The address for the upload of a new job, and a session.
async fn bare_job(world: &World, http: &reqwest::Client) -> (String, String) {
    let org = world.org.url();
    let login = [
        ("grant_type", "client_credentials"),
        ("client_id", "3MVG9.EmulatedConsumerKey"),
        ("client_secret", "emulated-consumer-secret"),
    ];
    let answer = http.post(format!("{org}/services/oauth2/token")).form(&login).send().await;
    let answer: Value = answer.expect("the org answers").json().await.expect("a session");
    let token = answer["access_token"].as_str().expect("a session").to_owned();
    let job = json!({"object": "Account", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"});
    let jobs = format!("{org}/services/data/v66.0/jobs/ingest");
    let made = http.post(&jobs).bearer_auth(&token).json(&job).send().await;
    let made: Value = made.expect("the org answers").json().await.expect("a job");
    (format!("{jobs}/{}/batches", made["id"].as_str().expect("an id")), token)
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn with(event: &Value, numbers: &[(&str, u64)]) -> Value {
    let mut event = event.clone();
    for (name, number) in numbers {
        event[*name] = json!(number);
    }
    event
}
