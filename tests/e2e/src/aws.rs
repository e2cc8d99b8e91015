//! S3, Secrets Manager and Step Functions by moto, in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The Python that `.ci/run` installs the third-party tools into.
#[must_use]
pub fn python() -> PathBuf {
    let python = std::env::var_os("BACKHAUL_PYTHON")
        .map_or_else(|| workspace().join("target/tools/python/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "{} is not there: `.ci/run tools` installs the third-party tools that this test needs",
        python.display()
    );
    python
}

/// The folder that `.ci/run` installs the third-party tools from the npm registry into.
#[must_use]
pub fn node_tools() -> PathBuf {
    let tools = std::env::var_os("BACKHAUL_NODE_TOOLS")
        .map_or_else(|| workspace().join("target/tools/node"), PathBuf::from);
    assert!(
        tools.join("node_modules").exists(),
        "{} is not there: `.ci/run tools` installs the third-party tools that this test needs",
        tools.display()
    );
    std::path::absolute(tools).expect("there is a current folder")
}

/// A local AWS. It ends with this value.
pub struct Aws {
    process: Child,
    url: String,
    http: reqwest::Client,
}

impl Drop for Aws {
    fn drop(&mut self) {
        // It ends by itself when its standard input closes; the kill only makes that sooner.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The region of everything.
pub const REGION: &str = "us-east-1";

impl Aws {
    /// Starts it. Step Functions invokes functions at `lambda`.
    #[must_use]
    pub fn start(lambda: &str) -> Self {
        let mut process = Command::new(python())
            .arg(workspace().join("tests/tools/moto_server.py"))
            .env("LAMBDA_URL", lambda)
            .envs(credentials())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python starts");
        let mut port = String::new();
        let output = process.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut port).expect("moto prints its port");
        assert!(
            !port.trim().is_empty(),
            "moto did not start: run tests/tools/moto_server.py by hand to see why"
        );
        Self { process, url: format!("http://127.0.0.1:{}", port.trim()), http: reqwest::Client::new() }
    }

    /// Its address, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the AWS SDK of a process needs to come here.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<_> =
            credentials().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.url.clone()));
        environment
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, bucket: &str) {
        let answer = self.http.put(format!("{}/{bucket}", self.url)).send().await.expect("moto answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Creates a secret.
    pub async fn create_secret(&self, name: &str, secret: &str) {
        let body = json!({"Name": name, "SecretString": secret, "ClientRequestToken": name.repeat(8)[..32]});
        self.call("secretsmanager", "secretsmanager.CreateSecret", &body).await;
    }

    /// Creates a state machine and returns its ARN.
    pub async fn create_state_machine(&self, definition: &str) -> String {
        let body = json!({
            "name": "sync-run", "definition": definition,
            "roleArn": "arn:aws:iam::123456789012:role/sync-run",
        });
        let answer = self.call("states", "AWSStepFunctions.CreateStateMachine", &body).await;
        answer["stateMachineArn"].as_str().expect("an ARN").to_owned()
    }

    /// Starts an execution and waits for its end: the description of it.
    pub async fn execute(&self, machine: &str, name: &str, input: &Value) -> Value {
        let body = json!({"stateMachineArn": machine, "name": name, "input": input.to_string()});
        let started = self.call("states", "AWSStepFunctions.StartExecution", &body).await;
        self.wait_for(started["executionArn"].as_str().expect("an ARN")).await
    }

    /// Waits for the end of an execution.
    pub async fn wait_for(&self, execution: &str) -> Value {
        loop {
            let body = json!({"executionArn": execution});
            let described = self.call("states", "AWSStepFunctions.DescribeExecution", &body).await;
            if described["status"] != "RUNNING" {
                return described;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The executions of a state machine, by name.
    pub async fn executions(&self, machine: &str) -> Vec<Value> {
        let body = json!({"stateMachineArn": machine});
        let listed = self.call("states", "AWSStepFunctions.ListExecutions", &body).await;
        listed["executions"].as_array().cloned().unwrap_or_default()
    }

    async fn call(&self, service: &str, target: &str, body: &Value) -> Value {
        let scope = format!("AKIAEXAMPLE/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0");
        let request =
            self.http.post(&self.url).header("X-Amz-Target", target).header("Authorization", authorization);
        let request = request.header("Content-Type", "application/x-amz-json-1.1").body(body.to_string());
        let answer = request.send().await.expect("moto answers");
        let status = answer.status();
        let answer: Value = answer.json().await.expect("moto answers with JSON");
        assert!(status.is_success(), "{target}: {answer}");
        answer
    }
}

fn credentials() -> [(&'static str, &'static str); 3] {
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "example"), ("AWS_REGION", REGION)]
}
