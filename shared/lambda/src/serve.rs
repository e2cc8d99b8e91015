//! One handler as a Lambda function.
//!
//! The error type that Step Functions matches is the name of the failure's class, through
//! [`Diagnostic`]. Events and answers are never logged.

use std::{
    panic::AssertUnwindSafe,
    time::{Duration, Instant, SystemTime},
};

use engine::{Class, Failure, RunId, SyncName};
use futures_util::FutureExt;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::trace;

/// What a handler may know of the invocation besides its event.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// When Lambda ends the process.
    pub deadline: Instant,
    /// The id of the request, as in Lambda's own log lines.
    pub request_id: String,
}

/// Answers invocations with `handler` until Lambda ends the process. `name` is that of the function.
///
/// An event that is not an `E` ends in a `Configuration` failure that names the key at fault; a panic
/// ends in a `Bug`. Either way the process goes on with the next invocation.
///
/// # Errors
/// When the runtime API of Lambda cannot be reached.
///
/// # Panics
/// Outside of Lambda, for want of its environment variables.
pub async fn serve<E, O, F, Fut>(name: &'static str, handler: F) -> Result<(), lambda_runtime::Error>
where
    E: DeserializeOwned,
    O: Serialize,
    F: Fn(E, Invocation) -> Fut,
    Fut: Future<Output = Result<O, Failure>>,
{
    trace::start(name);
    let handler = &handler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| answer(name, handler, event))).await
}

/// What may be told of an event: the run it is about.
#[derive(Default)]
struct Subject {
    sync: Option<SyncName>,
    run: Option<RunId>,
}

async fn answer<E, O, F, Fut>(
    name: &'static str,
    handler: &F,
    event: LambdaEvent<Value>,
) -> Result<Value, Diagnostic>
where
    E: DeserializeOwned,
    O: Serialize,
    F: Fn(E, Invocation) -> Fut,
    Fut: Future<Output = Result<O, Failure>>,
{
    let started = Instant::now();
    let subject = Subject::of(&event.payload);
    let invocation = Invocation::new(&event.context, started);
    let request_id = invocation.request_id.clone();
    // The future is dropped after a panic, and nothing that it borrowed is looked at again.
    let handled = AssertUnwindSafe(handle(name, handler, event.payload, invocation)).catch_unwind().await;
    let outcome = handled.unwrap_or_else(|_| Err(panicked(name)));
    summarise(name, &request_id, &subject, started.elapsed(), outcome.as_ref().err());
    outcome.map_err(diagnostic)
}

async fn handle<E, O, F, Fut>(
    name: &str,
    handler: &F,
    event: Value,
    invocation: Invocation,
) -> Result<Value, Failure>
where
    E: DeserializeOwned,
    O: Serialize,
    F: Fn(E, Invocation) -> Fut,
    Fut: Future<Output = Result<O, Failure>>,
{
    let event = store::decode_value(event).map_err(|fault| {
        Failure::configuration(format!("the event is not one of `{name}`: {fault}"))
            .hint(format!("`events/{name}/` holds samples"))
    })?;
    // Boxed: a stage and the runtime that serves it are, one within the other, too deep for the compiler.
    let output = handler(event, invocation).boxed_local().await?;
    serde_json::to_value(output).map_err(|_| Failure::bug(format!("the answer of `{name}` has no JSON form")))
}

impl Subject {
    /// Only what is well-formed: a malformed event may hold anything.
    fn of(event: &Value) -> Self {
        let text = |key: &str| event.get(key).and_then(Value::as_str);
        Self {
            sync: text("sync").and_then(|name| name.parse().ok()),
            run: text("run").and_then(|id| id.parse().ok()),
        }
    }
}

impl Invocation {
    fn new(context: &Context, now: Instant) -> Self {
        let left = context.deadline().duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        Self { deadline: now + left, request_id: context.request_id.clone() }
    }
}

/// The one line that every invocation leaves.
fn summarise(name: &str, request_id: &str, subject: &Subject, taken: Duration, failure: Option<&Failure>) {
    let sync = subject.sync.as_ref().map(SyncName::as_str);
    let run = subject.run.as_ref().map(RunId::as_str);
    let milliseconds = u64::try_from(taken.as_millis()).unwrap_or(u64::MAX);
    let outcome = failure.map_or("Done", |failure| failure.class.name());
    let (message, hint) =
        (failure.map(|failure| &*failure.message), failure.and_then(|failure| failure.hint.as_deref()));
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: trace::SUMMARY, function = name, request_id, sync, run, milliseconds, outcome, hint,
                "{}", message.unwrap_or("done")
            )
        };
    }
    match failure.map(|failure| failure.class) {
        None => line!(info),
        Some(Class::Transient | Class::Quota | Class::Contention) => line!(warn),
        Some(Class::Configuration | Class::Guard | Class::Bug) => line!(error),
    }
}

fn panicked(name: &str) -> Failure {
    Failure::bug(format!("`{name}` panicked"))
        .hint("the log line before this one names the place; please report it")
}

fn diagnostic(failure: Failure) -> Diagnostic {
    Diagnostic { error_type: failure.class.name().to_owned(), error_message: failure.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::Captured;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Event {
        sync: SyncName,
        run: RunId,
        #[serde(default)]
        chunk: u32,
    }

    async fn handler(event: Event, _: Invocation) -> Result<String, Failure> {
        match event.chunk {
            0 => Ok(format!("{}/{}", event.sync, event.run)),
            1 => Err(Failure::transient("`it` is away").hint("wait")),
            2 => panic!("{}", format!("planted {}", event.chunk)),
            _ => Err(Failure::guard("`limit` is passed")),
        }
    }

    async fn ask(event: Value) -> (Result<Value, Value>, Vec<Value>) {
        let captured = Captured::start("map");
        let mut context = Context::default();
        context.request_id = "r-1".to_owned();
        let answered = answer("map", &handler, LambdaEvent::new(event, context)).await;
        (answered.map_err(|diagnostic| serde_json::to_value(diagnostic).unwrap()), captured.lines())
    }

    fn event(chunk: u32) -> Value {
        serde_json::json!({"sync": "customers", "run": "20261121T000300Z", "chunk": chunk})
    }

    #[tokio::test]
    async fn an_answer_leaves_one_line_that_tells_which_run_it_was() {
        let (answered, lines) = ask(event(0)).await;
        assert_eq!(answered, Ok(Value::from("customers/20261121T000300Z")));
        let [line] = &lines[..] else { panic!("{lines:?}") };
        for (key, expected) in [
            ("level", "INFO"),
            ("function", "map"),
            ("request_id", "r-1"),
            ("sync", "customers"),
            ("run", "20261121T000300Z"),
            ("outcome", "Done"),
        ] {
            assert_eq!(line[key], expected, "{line}");
        }
        assert!(line["milliseconds"].is_u64(), "{line}");
    }

    #[tokio::test]
    async fn the_class_of_a_failure_is_the_error_type_that_the_state_machine_matches() {
        let (answered, lines) = ask(event(1)).await;
        let expected =
            serde_json::json!({"errorType": "Transient", "errorMessage": "`it` is away (hint: wait)"});
        assert_eq!(answered, Err(expected));
        assert_eq!((&lines[0]["level"], &lines[0]["outcome"]), (&"WARN".into(), &"Transient".into()));
        assert_eq!((&lines[0]["message"], &lines[0]["hint"]), (&"`it` is away".into(), &"wait".into()));
        let (answered, lines) = ask(event(3)).await;
        assert_eq!(answered.unwrap_err()["errorType"], "Guard");
        assert_eq!(lines[0]["level"], "ERROR");
    }

    #[tokio::test]
    async fn a_panic_is_a_bug_without_its_message() {
        let (answered, lines) = ask(event(2)).await;
        let answered = answered.unwrap_err();
        assert_eq!(answered["errorType"], "Bug");
        assert!(!format!("{answered} {lines:?}").contains("planted"));
    }

    #[tokio::test]
    async fn a_malformed_event_is_told_by_its_key_and_never_by_its_content() {
        let cases = [
            (serde_json::json!({"run": "planted"}), "`run` is not what is expected there"),
            (serde_json::json!({"sync": "customers"}), "`run` is missing"),
            (serde_json::json!({"sync": "Planted!"}), "`sync` is not what is expected there"),
            (
                serde_json::json!({"sync": "customers", "job": "planted"}),
                "`job` is not what is expected there",
            ),
            (serde_json::json!("planted"), "it is not an object of the expected form"),
        ];
        for (event, expected) in cases {
            let (answered, lines) = ask(event.clone()).await;
            let answered = answered.unwrap_err();
            assert_eq!(answered["errorType"], "Configuration", "{event}");
            let message = answered["errorMessage"].as_str().unwrap();
            assert!(message.starts_with(&format!("the event is not one of `map`: {expected}")), "{message}");
            assert!(
                !format!("{message} {lines:?}").to_lowercase().contains("planted"),
                "{message} {lines:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_deadline_is_that_of_the_context() {
        let in_a_minute = SystemTime::now() + Duration::from_secs(60);
        let deadline = in_a_minute.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        let mut context = Context::default();
        context.deadline = u64::try_from(deadline).unwrap();
        let now = Instant::now();
        let left = Invocation::new(&context, now).deadline - now;
        assert!((58..=60).contains(&left.as_secs()), "{left:?}");
        assert_eq!(Invocation::new(&Context::default(), now).deadline, now, "a passed deadline is now");
    }
}
