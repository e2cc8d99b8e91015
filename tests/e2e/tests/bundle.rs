//! What holds between the files of the bundle: names, dependencies, the state machine, the template.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use engine::{Class, JobRef, RunRef, layout};
use serde_json::Value;

/// The functions, in the order of the flow. This list is the only one that is written by hand.
const FUNCTIONS: [&str; 9] =
    ["dispatch", "extract", "map", "plan", "submit", "poll", "collect", "settle", "finish"];

/// Errors that are not ours, of Step Functions and of Lambda.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
const FOREIGN_ERRORS: [&str; 9] = [
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
    "States.Timeout",
];

/// What each crate may depend on in the workspace. Who is not listed may depend on nothing in it.
const ARROWS: [(&str, &[&str]); 7] = [
    ("backhaul-http", &["backhaul-engine"]),
    ("backhaul-store", &["backhaul-engine"]),
    ("backhaul-snowflake", &["backhaul-engine", "backhaul-http"]),
    ("backhaul-salesforce", &["backhaul-engine", "backhaul-http"]),
    (
        "backhaul-lambda",
        &["backhaul-engine", "backhaul-http", "backhaul-salesforce", "backhaul-snowflake", "backhaul-store"],
    ),
    ("bench", &["backhaul-engine"]),
    ("emulators", &[]),
];

/// What a function may depend on in the workspace.
const FUNCTION_ARROWS: [&str; 6] = [
    "backhaul-engine",
    "backhaul-http",
    "backhaul-lambda",
    "backhaul-salesforce",
    "backhaul-snowflake",
    "backhaul-store",
];

// ---------------------------------------------------------------- names

/// `docs/faults-of-others.md` is only worth something while its tests are there.
#[test]
fn each_fault_of_others_has_its_tests() {
    let page = fs::read_to_string(root().join("docs/faults-of-others.md")).unwrap();
    let faults: Vec<&str> = page.lines().filter(|line| line.starts_with("| P")).collect();
    assert_eq!(faults.len(), 30);
    for (number, fault) in (1..).zip(faults) {
        assert!(fault.starts_with(&format!("| P{number} |")), "{fault}");
        let tests = fault.rsplit(" | ").next().unwrap().trim_end_matches(" |");
        for test in tests.split("<br>") {
            let (file, name) = test.trim_matches('`').split_once("` `").expect("a file and a function");
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            assert!(source.contains(&format!("fn {name}(")), "P{number}: no `{name}` in `{file}`");
        }
    }
}

#[test]
fn a_function_has_one_name_everywhere() {
    let expected: BTreeSet<String> = FUNCTIONS.map(str::to_owned).into();
    assert_eq!(folders("functions"), expected, "folders of functions/");
    assert_eq!(folders("events"), expected, "folders of events/");
    assert_eq!(binaries(), expected, "binaries of the packages in functions/");

    let resources = of_type(&template(), "AWS::Serverless::Function").map(|(name, _)| lower(&name)).collect();
    assert_eq!(lowered(&resources), expected, "functions of template.yaml");
    let tasks: BTreeSet<String> = tasks(&machine()).into_keys().chain(["Dispatch".to_owned()]).collect();
    assert_eq!(lowered(&tasks), expected, "tasks of the state machine, and Dispatch, which starts it");
}

#[test]
fn a_resource_builds_and_runs_the_function_of_its_name() {
    for (resource, function) in of_type(&template(), "AWS::Serverless::Function") {
        let name = lower(&resource);
        assert_eq!(function["Metadata"]["BuildMethod"], "rust-cargolambda", "{resource}");
        assert_eq!(function["Metadata"]["BuildProperties"]["Binary"], name, "{resource}");
        assert_eq!(function["Properties"]["CodeUri"], format!("functions/{name}/"), "{resource}");
        let deployed = function["Properties"]["FunctionName"].as_str().expect("FunctionName is text");
        assert_eq!(deployed, format!("${{AWS::StackName}}-{name}"), "{resource}");
    }
    for (state, task) in tasks(&machine()) {
        assert_eq!(task["Parameters"]["FunctionName"], format!("${{{state}}}"), "{state}");
    }
}

// ---------------------------------------------------------------- dependencies

#[test]
fn arrows_point_inward() {
    let members: BTreeMap<String, BTreeSet<String>> =
        packages().iter().map(|package| (text(package, "name"), production_dependencies(package))).collect();
    let workspace: BTreeSet<String> = members.keys().cloned().collect();
    for (member, dependencies) in &members {
        if ["cli", "e2e"].contains(&member.as_str()) {
            continue;
        }
        let allowed = allowed_dependencies(member);
        let inside: BTreeSet<&String> = dependencies.intersection(&workspace).collect();
        let wrong: Vec<_> = inside.into_iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "`{member}` depends on {wrong:?}");
    }
}

#[test]
fn the_engine_is_not_async_and_reaches_nothing() {
    let tree = dependency_tree("backhaul-engine");
    for outside in ["tokio", "reqwest", "hyper", "rand", "getrandom", "aws-config"] {
        assert!(!tree.contains(outside), "`engine` reaches `{outside}`");
    }
}

#[test]
fn the_command_line_is_built_without_an_aws_sdk() {
    let tree = dependency_tree("cli");
    let sdks: Vec<_> =
        tree.iter().filter(|name| name.starts_with("aws-sdk") || *name == "lambda_runtime").collect();
    assert!(sdks.is_empty(), "the command line reaches {sdks:?}");
    assert!(tree.contains("backhaul-engine"), "the tree is empty: this test would see nothing");
}

#[test]
fn no_function_waits() {
    for function in FUNCTIONS {
        for file in sources(&root().join("functions").join(function).join("src")) {
            let source = read(&file);
            assert!(!source.contains("sleep"), "{} waits: waits belong to the state machine", file.display());
        }
    }
}

// ---------------------------------------------------------------- the state machine

#[test]
fn every_task_retries_by_class_and_no_failure_is_caught() {
    let tasks = tasks(&machine());
    let retry = &tasks["Extract"]["Retry"];
    for (state, task) in &tasks {
        assert_eq!(&task["Retry"], retry, "{state} retries unlike the others");
        assert!(task.get("Catch").is_none(), "{state} swallows a failure: nothing would be left to redrive");
        assert_eq!(task["Resource"], "arn:aws:states:::lambda:invoke", "{state}");
    }
    let retried: BTreeSet<&str> = error_names(retry).collect();
    for class in Class::ALL {
        let comes_back = matches!(class, Class::Transient | Class::Quota | Class::Contention);
        assert_eq!(retried.contains(class.name()), comes_back, "{class}");
    }
}

#[test]
fn every_error_name_exists() {
    let known: BTreeSet<&str> = Class::ALL.iter().map(|class| class.name()).chain(FOREIGN_ERRORS).collect();
    for (state, task) in tasks(&machine()) {
        for name in error_names(&task["Retry"]) {
            assert!(known.contains(name), "{state} retries `{name}`, which nothing raises");
        }
    }
}

#[test]
fn a_task_outlasts_its_function() {
    let template = template();
    assert!(machine()["TimeoutSeconds"].is_u64(), "the machine has no end");
    for (state, task) in tasks(&machine()) {
        let of_task = task["TimeoutSeconds"].as_u64().expect("every task has a timeout");
        let of_function = template["Resources"][&state]["Properties"]["Timeout"].as_u64();
        assert!(
            of_function.is_some_and(|seconds| seconds < of_task),
            "{state}: {of_function:?} >= {of_task}"
        );
    }
}

#[test]
fn fan_out_is_distributed_and_returns_nothing() {
    let machine = machine();
    let maps: Vec<_> = states(&machine).into_iter().filter(|(_, state)| state["Type"] == "Map").collect();
    assert_eq!(maps.len(), 3);
    for (name, map) in maps {
        let children = &map["ItemProcessor"];
        // ItemReader and the history limit of a run both ask for it.
        assert_eq!(children["ProcessorConfig"]["Mode"], "DISTRIBUTED", "{name}");
        assert!(map["ResultPath"].is_null() && map.get("ResultPath").is_some(), "{name} keeps its results");
        for (state, child) in states(children).iter().filter(|(_, child)| child["End"] == true) {
            assert_eq!(child["ResultSelector"], serde_json::json!({}), "{state} returns more than nothing");
        }
        if map.get("ItemReader").is_some() {
            let key = text(&map["ItemReader"]["Parameters"], "Key.$");
            assert_eq!(key, "States.Format('runs/{}/{}/manifest.json', $.sync, $.run)", "{name}");
        }
    }
    assert_eq!(layout::manifest(&run()), "runs/customers/20260101T000000Z/manifest.json");
}

#[test]
fn every_placeholder_is_substituted() {
    let definition = read(&root().join("statemachine/sync-run.asl.yaml"));
    let used: BTreeSet<&str> =
        definition.split("${").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    let template = template();
    let substitutions = object(&template["Resources"]["SyncRun"]["Properties"]["DefinitionSubstitutions"]);
    assert_eq!(used, substitutions.keys().map(String::as_str).collect());
}

// ---------------------------------------------------------------- the template

type Who = &'static [&'static str];

/// Who reads and who writes which object. What is not listed is not granted.
fn objects() -> Vec<(Who, Who, String)> {
    let (run, job) = (run(), JobRef { wave: 1, job: 0 });
    let every: Who = &FUNCTIONS;
    let stages: Who = &FUNCTIONS[1..];
    let holders: Who = &["extract", "plan", "submit", "poll", "finish"];
    let loaders: Who = &["submit", "poll", "collect"];
    let callers: Who = &["extract", "plan", "submit", "poll", "collect"];
    vec![
        (every, &["dispatch"], layout::run(&run)),
        (&["dispatch", "extract", "plan", "submit", "poll", "finish"], holders, layout::lease(&run.sync)),
        (&["dispatch", "extract", "plan", "submit", "poll", "finish"], &["finish"], layout::head(&run.sync)),
        (
            &["extract", "map", "plan", "settle"],
            &["settle"],
            layout::baseline_segment(&run.sync, &run.run, 0),
        ),
        (&["dispatch", "extract"], &["dispatch"], layout::release(&run.sync, 1)),
        (every, &["extract"], layout::base(&run)),
        (stages, &["dispatch", "plan"], layout::given_up(&run)),
        (stages, &["extract"], layout::describe(&run)),
        (stages, &["extract"], layout::statement(&run)),
        (stages, &["extract"], layout::submitted(&run)),
        (stages, &["extract"], layout::result(&run)),
        (stages, &["extract"], layout::partition(&run, 0)),
        (stages, &["extract"], layout::partition_scan(&run, 0)),
        (stages, &["extract"], layout::manifest(&run)),
        (stages, &["map"], layout::mapped(&run, 0, "upsert-000.csv")),
        (stages, &["map", "plan"], layout::mapped(&run, 0, "upsert-000-half-1.csv")),
        (stages, &["map", "plan"], layout::mapped(&run, 0, "remove-000-rest.sent.zst")),
        (stages, &["map", "plan"], layout::mapped(&run, 0, "invalid-upsert-000.csv")),
        (stages, &["map", "plan"], layout::mapped(&run, 0, "renamed-000.zst")),
        (stages, &["map"], layout::mapped(&run, 0, "mended-000.zst")),
        (stages, &["map"], layout::mapped_summary(&run, 0)),
        (every, &["plan"], layout::plan(&run, 1)),
        (stages, &["plan"], layout::plan(&run, 2)),
        (every, &["dispatch"], layout::apply(&run)),
        (every, &["plan"], layout::limits_seen(&run)),
        (stages, &["plan"], layout::gate_folder(&run, 1) + "turn-0-001.json"),
        (stages, &["plan"], layout::released(&run)),
        (every, &["plan"], layout::limits(&run, 1)),
        (stages, callers, layout::session(&run, 0)),
        (stages, loaders, layout::journal(&run, job, "attempt-0.json")),
        (stages, loaders, layout::job_failure(&run, job, 0)),
        (stages, loaders, layout::job_end(&run, job)),
        (stages, &["submit", "collect"], layout::results(&run, job, "call-000.json")),
        (stages, &["collect"], layout::results(&run, job, "success.csv")),
        (stages, &["collect"], layout::delta(&run, job, 0)),
        (stages, &["collect"], layout::results_summary(&run, job)),
        (stages, &["settle"], layout::settled(&run, 0)),
        (every, &["finish"], layout::preview_json(&run)),
        (stages, &["finish"], layout::preview_text(&run)),
        (stages, &["finish"], layout::report_json(&run)),
        (stages, &["finish"], layout::report_text(&run)),
        (stages, &["finish"], layout::failure_text(&run)),
        (stages, &["finish"], layout::failure(&run)),
    ]
}

#[test]
fn a_function_reaches_the_objects_it_names_and_no_others() {
    let template = template();
    for (readers, writers, key) in objects() {
        for (action, expected) in [("s3:GetObject", readers), ("s3:PutObject", writers)] {
            let granted: BTreeSet<&str> =
                FUNCTIONS.into_iter().filter(|function| may(&template, function, action, &key)).collect();
            assert_eq!(granted, expected.iter().copied().collect(), "{action} on `{key}`");
        }
    }
}

#[test]
fn a_function_reads_the_secrets_it_is_told_of_and_no_others() {
    let template = template();
    for function in FUNCTIONS {
        let properties = &template["Resources"][capitalised(function)]["Properties"];
        let told = properties["Environment"]["Variables"].as_object().into_iter().flatten();
        let told: BTreeSet<String> = told
            .filter(|(name, _)| name.ends_with("_SECRET"))
            .map(|(_, parameter)| parameter.to_string())
            .collect();
        let granted: BTreeSet<String> = statements(properties)
            .filter(|statement| strings(&statement["Action"]).contains(&"secretsmanager:GetSecretValue"))
            .flat_map(|statement| strings(&statement["Resource"]))
            .filter_map(|arn| Some(format!("\"{}\"", arn.split("secret:${").nth(1)?.split('}').next()?)))
            .collect();
        assert_eq!(told, granted, "{function}");
    }
}

#[test]
fn nothing_is_granted_on_everything() {
    let template = template();
    let roles = ["AWS::Serverless::Function", "AWS::Serverless::StateMachine"];
    for (resource, body) in roles.iter().flat_map(|kind| of_type(&template, kind).collect::<Vec<_>>()) {
        assert!(statements(&body["Properties"]).count() > 0, "{resource} has no policies of its own");
        for statement in statements(&body["Properties"]) {
            assert_eq!(statement["Effect"], "Allow", "{resource}");
            let actions = strings(&statement["Action"]);
            assert!(actions.iter().all(|action| !action.contains('*')), "{resource}: {actions:?}");
            // For log delivery and for the identity of the caller itself, AWS accepts no other resource.
            let identity = actions == ["sts:GetWebIdentityToken"];
            let delivery = resource == "SyncRun" && statement["Sid"] == "LogDelivery";
            let wide = strings(&statement["Resource"]).contains(&"*");
            assert_eq!(wide, delivery || identity, "{resource}: {}", statement["Sid"]);
            assert!(!delivery || actions.iter().all(|action| action.starts_with("logs:")), "{actions:?}");
        }
    }
}

#[test]
fn every_function_logs_to_a_group_that_forgets() {
    let template = template();
    for (resource, function) in of_type(&template, "AWS::Serverless::Function") {
        let group = text(&function["Properties"]["LoggingConfig"], "LogGroup");
        assert_eq!(group, format!("{resource}Logs"));
    }
    let groups: Vec<_> = of_type(&template, "AWS::Logs::LogGroup").collect();
    assert_eq!(groups.len(), FUNCTIONS.len() + 1, "one for each function and one for the machine");
    for (name, group) in groups {
        assert_eq!(group["Properties"]["RetentionInDays"], "LogRetentionDays", "{name}");
    }
}

#[test]
fn the_bucket_is_private_encrypted_and_kept() {
    let template = template();
    let bucket = &template["Resources"]["Bucket"];
    assert_eq!(
        (&bucket["DeletionPolicy"], &bucket["UpdateReplacePolicy"]),
        (&"Retain".into(), &"Retain".into())
    );
    let block = object(&bucket["Properties"]["PublicAccessBlockConfiguration"]);
    assert!(block.len() == 4 && block.values().all(|on| on == true), "{block:?}");
    let encryption = &bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");
    let ownership = &bucket["Properties"]["OwnershipControls"]["Rules"][0]["ObjectOwnership"];
    assert_eq!(ownership, "BucketOwnerEnforced");
    let tls = &template["Resources"]["BucketPolicy"]["Properties"]["PolicyDocument"]["Statement"][0];
    assert_eq!(
        (&tls["Effect"], &tls["Condition"]["Bool"]["aws:SecureTransport"]),
        (&"Deny".into(), &"false".into())
    );
}

#[test]
fn a_failed_run_is_told_to_finish() {
    let template = template();
    let rule = &template["Resources"]["Finish"]["Properties"]["Events"]["Failed"]["Properties"];
    let ends = strings(&rule["Pattern"]["detail"]["status"]);
    assert_eq!(ends, ["FAILED", "TIMED_OUT", "ABORTED"], "every end but the good one");
    assert_eq!(strings(&rule["Pattern"]["detail"]["stateMachineArn"]), ["SyncRun"]);
    assert_eq!(rule["DeadLetterConfig"]["Arn"], "Undelivered.Arn");
    let tick = &template["Resources"]["Dispatch"]["Properties"]["Events"]["EveryMinute"]["Properties"];
    assert_eq!(tick["DeadLetterConfig"]["Arn"], "Undelivered.Arn");
}

#[test]
fn every_variable_of_the_template_is_read() {
    let settings: String = sources(&root().join("shared/lambda/src")).iter().map(|file| read(file)).collect();
    let template = read(&root().join("template.yaml"));
    for name in template.split_whitespace().filter(|word| word.starts_with("BACKHAUL_")) {
        let name = name.trim_end_matches(':');
        assert!(settings.contains(&format!("\"{name}\"")), "`{name}` is set and never read");
    }
}

// ---------------------------------------------------------------- the sample events

#[test]
fn every_sample_event_is_understood() {
    for function in FUNCTIONS {
        for file in sources(&root().join("events").join(function)) {
            let event = read(&file);
            let understood = match function {
                "dispatch" => parsed::<dispatch::Event>(&event),
                "extract" => parsed::<RunRef>(&event),
                "map" => parsed::<map::Event>(&event),
                "plan" => parsed::<plan::Event>(&event),
                "submit" => parsed::<submit::Event>(&event),
                "poll" => parsed::<poll::Event>(&event),
                "collect" => parsed::<collect::Event>(&event),
                "settle" => parsed::<settle::Event>(&event),
                "finish" => parsed::<finish::Event>(&event),
                other => Some(format!("`{other}` has no event type here")),
            };
            assert_eq!(understood, None, "{}", file.display());
            let same_run = event.contains("20260101T000000Z") || event.contains("2026-01-01T00:00:00Z");
            assert!(same_run, "{}: all sample events carry out one run", file.display());
        }
    }
}

fn parsed<T: serde::de::DeserializeOwned>(event: &str) -> Option<String> {
    serde_json::from_str::<T>(event).err().map(|error| error.to_string())
}

// ---------------------------------------------------------------- reading the files

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the package is in tests/e2e").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// YAML as JSON. The tags of CloudFormation fall away: `!Ref Bucket` reads as `Bucket`.
fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(&root().join(path))).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn template() -> Value {
    yaml("template.yaml")
}

fn machine() -> Value {
    yaml("statemachine/sync-run.asl.yaml")
}

fn run() -> RunRef {
    serde_json::from_str(r#"{"sync":"customers","run":"20260101T000000Z"}"#).expect("it is a run")
}

fn folders(path: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(path)).expect("the folder is there");
    let entries = entries.map(|entry| entry.expect("the folder can be read").path());
    let names =
        entries.filter(|path| path.is_dir()).filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    names.collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.into_iter().filter(|path| path.is_file()).collect()
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("not a mapping: {value}"))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` is not text in {value}")).to_owned()
}

/// One text or several.
fn strings(value: &Value) -> Vec<&str> {
    value
        .as_str()
        .into_iter()
        .chain(value.as_array().into_iter().flatten().filter_map(Value::as_str))
        .collect()
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn lowered(names: &BTreeSet<String>) -> BTreeSet<String> {
    names.iter().map(|name| lower(name)).collect()
}

fn capitalised(name: &str) -> String {
    name[..1].to_ascii_uppercase() + &name[1..]
}

fn of_type<'a>(template: &'a Value, kind: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    let resources = object(&template["Resources"]).iter();
    resources.filter(move |(_, body)| body["Type"] == kind).map(|(name, body)| (name.clone(), body))
}

/// Every state of a machine, those of its children as well.
fn states(machine: &Value) -> Vec<(String, &Value)> {
    let own = object(&machine["States"]).iter();
    own.flat_map(|(name, state)| {
        let children = state.get("ItemProcessor").map(states).unwrap_or_default();
        [(name.clone(), state)].into_iter().chain(children)
    })
    .collect()
}

fn tasks(machine: &Value) -> BTreeMap<String, Value> {
    let tasks = states(machine).into_iter().filter(|(_, state)| state["Type"] == "Task");
    tasks.map(|(name, state)| (name, state.clone())).collect()
}

fn error_names(retry: &Value) -> impl Iterator<Item = &str> {
    retry.as_array().into_iter().flatten().flat_map(|retrier| strings(&retrier["ErrorEquals"]))
}

fn statements(properties: &Value) -> impl Iterator<Item = &Value> {
    let policies = properties["Policies"].as_array().into_iter().flatten();
    policies.flat_map(|policy| policy["Statement"].as_array().into_iter().flatten())
}

/// Whether the role of a function allows an action on an object of the bucket.
fn may(template: &Value, function: &str, action: &str, key: &str) -> bool {
    let properties = &template["Resources"][capitalised(function)]["Properties"];
    let granting = statements(properties).filter(|statement| strings(&statement["Action"]).contains(&action));
    granting
        .flat_map(|statement| strings(&statement["Resource"]))
        .filter_map(|arn| arn.strip_prefix("${Bucket.Arn}/"))
        .any(|pattern| matches(pattern, key))
}

/// A pattern of IAM, in which `*` stands for any text, slashes included.
fn matches(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((before, after)) => key
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|skipped| matches(after, &rest[skipped..]))),
    }
}

// ---------------------------------------------------------------- asking cargo

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(arguments).current_dir(root()).output().expect("cargo can be started");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn packages() -> Vec<Value> {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let mut metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    serde_json::from_value(metadata["packages"].take()).expect("the packages are a list")
}

fn production_dependencies(package: &Value) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies.filter(|one| one["kind"] != "dev").map(|one| text(one, "name")).collect()
}

fn allowed_dependencies(member: &str) -> &'static [&'static str] {
    if FUNCTIONS.contains(&member) {
        return &FUNCTION_ARROWS;
    }
    ARROWS.iter().find(|(name, _)| *name == member).map_or(&[], |(_, allowed)| *allowed)
}

fn binaries() -> BTreeSet<String> {
    let packages = packages();
    let functions = packages.iter().filter(|package| text(package, "manifest_path").contains("/functions/"));
    functions
        .flat_map(|package| {
            let name = text(package, "name");
            let targets = package["targets"].as_array().into_iter().flatten();
            let binaries = targets.filter(|target| strings(&target["kind"]).contains(&"bin"));
            binaries
                .map(|target| text(target, "name"))
                .inspect(move |bin| assert_eq!(*bin, name))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The names of the crates that a package is built from, itself included.
fn dependency_tree(package: &str) -> BTreeSet<String> {
    let tree = ["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    cargo(&tree).lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
