//! The bundle as it is deployed: the function binaries under the Runtime API, moto as AWS, and the
//! stand-ins for both vendors.

use emulators::{
    salesforce::{Org, OrgConfig, OrgServer},
    snowflake::{Config, Snowflake, SnowflakeServer},
};
use serde_json::{Value, json};
use store::Store;

use crate::{
    aws::{Aws, workspace},
    binaries,
    runtime::{FUNCTIONS, Lambda},
    world::{copy_syncs, load},
};

/// The bucket.
pub const BUCKET: &str = "vault";

/// A deployed Backhaul.
pub struct Cloud {
    /// The warehouse.
    pub snowflake: SnowflakeServer,
    /// The org.
    pub org: OrgServer,
    /// Where functions are invoked.
    pub lambda: Lambda,
    /// S3, Secrets Manager and Step Functions.
    pub aws: Aws,
    /// The bucket, as the functions see it.
    pub store: Store,
    /// The state machine.
    pub machine: String,
    /// Where the functions write their logs.
    pub logs: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Cloud {
    /// Deploys with TPC-H at some scale and a state machine of that definition.
    pub async fn deploy(snowflake: Config, org: OrgConfig, scale: f64, definition: &str) -> Self {
        let snowflake = Snowflake::start(snowflake).expect("a free port");
        let org = Org::start(org).await.expect("a free port");
        load(&snowflake, scale);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (syncs, logs) = (folder.path().join("syncs"), folder.path().join("logs"));
        copy_syncs(&syncs);
        std::fs::create_dir_all(&logs).expect("the folder can be made");

        // Each needs the other's address: the functions get AWS's through their environment, later.
        let lambda = Lambda::start(binaries::functions(), &logs).await;
        let aws = Aws::start(lambda.url());
        aws.create_secret("backhaul/snowflake", &snowflake.secret_json()).await;
        aws.create_secret("backhaul/salesforce", &org.secret_json()).await;
        let machine = aws.create_state_machine(definition).await;
        let mut environment = aws.environment();
        environment.extend(
            [
                ("BACKHAUL_BUCKET", BUCKET),
                ("BACKHAUL_SYNCS", syncs.to_str().expect("a path of plain text")),
                ("BACKHAUL_SNOWFLAKE_SECRET", "backhaul/snowflake"),
                ("BACKHAUL_SALESFORCE_SECRET", "backhaul/salesforce"),
                ("BACKHAUL_STATE_MACHINE", &machine),
                ("BACKHAUL_LOG", "debug"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        lambda.set_environment(environment);
        let store = store::conformance::stand_in(aws.url(), BUCKET).await;
        Self { snowflake, org, lambda, aws, store, machine, logs, _folder: folder }
    }

    /// Invokes a function with one of the sample events, and expects it to go well.
    pub async fn sample(&self, function: &str, event: &str) -> Value {
        let path = workspace().join("events").join(function).join(event);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.invoke(function, &serde_json::from_str(&text).expect("an event is JSON")).await
    }

    /// Invokes a function and expects it to go well.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let answer = self.lambda.invoke(function, event).await;
        assert!(!answer.failed, "{function} failed: {}", answer.body);
        serde_json::from_str(&answer.body).expect("an answer is JSON")
    }

    /// Dispatches a run of a sync by hand, which starts its execution, and waits for the end of that.
    pub async fn dispatch(&self, sync: &str, run: &str) -> Value {
        self.dispatch_as(sync, run, "run").await
    }

    /// The same for a run of some mode.
    pub async fn dispatch_as(&self, sync: &str, run: &str, mode: &str) -> Value {
        self.invoke("dispatch", &json!({"sync": sync, "run": run, "mode": mode})).await;
        let name = format!("{sync}-{run}");
        let executions = self.aws.executions(&self.machine).await;
        let execution = executions.iter().find(|execution| execution["name"] == name.as_str());
        let execution = execution.unwrap_or_else(|| panic!("no execution is named {name}: {executions:?}"));
        self.aws.wait_for(execution["executionArn"].as_str().expect("an ARN")).await
    }

    /// Everything the functions have logged.
    #[must_use]
    pub fn logged(&self) -> String {
        let read =
            |name: &&str| std::fs::read_to_string(self.logs.join(format!("{name}.log"))).unwrap_or_default();
        FUNCTIONS.iter().map(read).collect()
    }
}

/// The real definition, with the substitutions that the template makes.
#[must_use]
pub fn definition() -> String {
    let path = workspace().join("statemachine/sync-run.asl.yaml");
    let mut text =
        std::fs::read_to_string(path).expect("the definition is there").replace("${Bucket}", BUCKET);
    for function in FUNCTIONS {
        let state = function[..1].to_uppercase() + &function[1..];
        text = text.replace(&format!("${{{state}}}"), function);
    }
    let definition: Value = serde_saphyr::from_str(&text).expect("the definition is YAML");
    definition.to_string()
}

/// A definition that does nothing, for runs that are carried out by hand.
#[must_use]
pub fn idle_definition() -> String {
    json!({"StartAt": "Idle", "States": {"Idle": {"Type": "Pass", "End": true}}}).to_string()
}
