//! The YAML file of a sync.

use backhaul_engine::{
    Class, Failure,
    config::{ConfigErrors, Problem, Sync},
    schedule,
};
use jiff::Timestamp;

/// A file is a sync that survives being written again, or every problem names its place in the file, or at
/// least its key.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Sync::parse("a.yaml", text) {
        Ok(sync) => check_sync(&sync),
        Err(errors) => check_errors(text, errors),
    }
}

fn check_sync(sync: &Sync) {
    let json = serde_json::to_string_pretty(sync).expect("a sync has a JSON form");
    assert_eq!(serde_json::from_str::<Sync>(&json).expect("that can be read"), *sync);
    // JSON is YAML.
    assert_eq!(Sync::parse("a.yaml", &json).unwrap_or_else(|errors| panic!("{errors}")), *sync);
    let statement = sync.statement(None).expect("nothing but a watermark can fail");
    assert!(statement.starts_with("SELECT \""), "{statement}");
    if let Some(schedule) = &sync.schedule {
        let next = schedule::next(schedule, Timestamp::UNIX_EPOCH);
        assert!(next.is_ok_and(|next| next > Timestamp::UNIX_EPOCH));
    }
}

fn check_errors(text: &str, errors: ConfigErrors) {
    assert!(!errors.problems.is_empty());
    for problem in &errors.problems {
        assert!(!problem.message.is_empty());
        match &problem.place {
            Some(_) => check_place(text, problem),
            // A key that is missing from the top of the file has no place.
            None if problem.message.contains("the key `") => {}
            None if problem.message == "the file is empty" => {}
            None => assert!(!problem.path.is_empty(), "neither line nor key: {problem:?}"),
        }
    }
    let shown = errors.to_string();
    // Where a line of the file is shown, it stands behind its number.
    let told = shown.lines().filter(|line| line.starts_with("error: a.yaml")).count();
    assert_eq!(told, errors.problems.len(), "{shown}");
    assert_eq!(Failure::from(errors).class, Class::Configuration);
}

/// The place is in the file, and the caret stands below the line or right after it.
fn check_place(text: &str, problem: &Problem) {
    let place = problem.place.as_ref().expect("there is a place");
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
    assert_eq!(place.text, line, "{problem:?}");
    let width = line.chars().count();
    assert!((1..=width + 1).contains(&place.column), "{problem:?}");
    assert!(place.length >= 1 && place.column - 1 + place.length <= width.max(place.column), "{problem:?}");
}
