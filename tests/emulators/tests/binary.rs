//! The `emulators` program: what it prints is what a person goes by.

#![expect(clippy::unwrap_used, reason = "a test that cannot talk to its server has failed")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reqwest::{Certificate, Client};
use serde_json::Value;

/// The program at work, and what it has printed.
struct Program {
    child: Child,
    said: Vec<String>,
}

impl Program {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emulators"))
            .args(["--https", "--scale", "0.001", "--salesforce-port", "0", "--snowflake-port", "0", "--out"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut said = Vec::new();
        for line in lines {
            let last = line.contains("Ctrl-C");
            said.push(line);
            if last {
                break;
            }
        }
        Self { child, said }
    }

    /// The value of a variable that the shell would have.
    fn variable(&self, name: &str) -> String {
        let words =
            self.said.iter().filter_map(|line| line.strip_prefix("export ")).flat_map(str::split_whitespace);
        let values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        values.map(str::to_owned).next().unwrap_or_else(|| panic!("no {name} in {:?}", self.said))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(uuid::Uuid::new_v4().to_string())
}

#[tokio::test]
async fn https_is_offered_with_all_that_clients_need() {
    let folder = folder();
    let program = Program::start(&folder);
    let (org, authority) = (program.variable("ORG"), program.variable("ORG_CA"));
    let authority = Certificate::from_pem(&std::fs::read(&authority).unwrap()).unwrap();
    let client = Client::builder().tls_certs_only([authority]).build().unwrap();
    // The command for curl, as it is printed.
    let printed = program.said.concat();
    let told =
        |name: &str| printed.split(&format!("-d {name}=")).nth(1).unwrap().split([' ', '#']).next().unwrap();
    let form = ["grant_type", "client_id", "client_secret"].map(|name| (name, told(name)));
    let answer = client.post(format!("{org}/services/oauth2/token")).form(&form).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    let limits = client.get(format!("{org}/services/data/v66.0/limits"));
    let limits = limits.bearer_auth(answer["access_token"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(limits.status(), 200);
    let secret = std::fs::read(program.variable("BACKHAUL_SALESFORCE_SECRET_FILE")).unwrap();
    let secret: Value = serde_json::from_slice(&secret).unwrap();
    assert_eq!(secret["login_url"], org);
    let key = std::fs::read_to_string(folder.canonicalize().unwrap().join("salesforce-key.pem")).unwrap();
    assert_eq!(secret["private_key"], key);
    for client in ["# curl", "# simple-salesforce", "# jsforce", "# sf"] {
        assert!(program.said.iter().any(|line| line == client), "{client} in {:?}", program.said);
    }
    drop(program);
    std::fs::remove_dir_all(folder).unwrap();
}
