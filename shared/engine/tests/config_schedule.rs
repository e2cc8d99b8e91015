//! When a sync is due: by table, with the days on which clocks are changed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use backhaul_engine::{Class, config::Schedule, schedule};
use jiff::{SignedDuration, Timestamp};

fn schedule(cron: &str, timezone: &str) -> Schedule {
    Schedule { cron: cron.to_owned(), timezone: timezone.to_owned() }
}

fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The instants of `[from, to)` in which a tick every minute finds the sync due, each told once.
fn ticks(cron: &str, zone: &str, from: &str, to: &str) -> Vec<String> {
    let (mut at, end, step) = (instant(from), instant(to), SignedDuration::from_mins(1));
    let mut found = Vec::new();
    while at < end {
        if let Some(due) = schedule::due(&schedule(cron, zone), at, step).unwrap() {
            found.push(due.to_string());
        }
        at += step;
    }
    found
}

#[test]
fn the_latest_instant_within_the_look_back_is_due() {
    for (cron, zone, at, minutes, due) in [
        ("0 * * * *", "UTC", "2026-11-21T00:00:00Z", 1, Some("2026-11-21T00:00:00Z")),
        ("0 * * * *", "UTC", "2026-11-21T00:00:59.9Z", 1, Some("2026-11-21T00:00:00Z")),
        ("0 * * * *", "UTC", "2026-11-21T00:01:00Z", 1, None),
        ("0 * * * *", "UTC", "2026-11-21T00:04:30Z", 5, Some("2026-11-21T00:00:00Z")),
        ("0 * * * *", "UTC", "2026-11-20T23:59:59Z", 5, None),
        ("*/5 * * * *", "UTC", "2026-11-21T00:13:00Z", 10, Some("2026-11-21T00:10:00Z")),
        ("0 9 * * MON", "UTC", "2026-11-23T09:00:30Z", 1, Some("2026-11-23T09:00:00Z")),
        ("0 9 * * MON", "UTC", "2026-11-24T09:00:30Z", 1, None),
        ("0 9 * * 7", "UTC", "2026-11-22T09:00:30Z", 1, Some("2026-11-22T09:00:00Z")),
        ("0 0 1 JAN *", "UTC", "2027-01-01T00:00:00Z", 1, Some("2027-01-01T00:00:00Z")),
        ("0 0 1 JAN *", "Asia/Tokyo", "2026-12-31T15:00:00Z", 1, Some("2026-12-31T15:00:00Z")),
        ("30 8 * * *", "America/New_York", "2026-11-21T13:30:00Z", 1, Some("2026-11-21T13:30:00Z")),
        ("0 12 29 2 *", "UTC", "2028-02-29T12:00:10Z", 1, Some("2028-02-29T12:00:00Z")),
        ("0 12 13 * FRI", "UTC", "2026-11-20T12:00:00Z", 1, Some("2026-11-20T12:00:00Z")),
    ] {
        let found =
            schedule::due(&schedule(cron, zone), instant(at), SignedDuration::from_mins(minutes)).unwrap();
        assert_eq!(found, due.map(instant), "{cron} {zone} {at}");
    }
}

#[test]
fn the_next_instant_is_after_the_given_one() {
    for (cron, zone, after, next) in [
        ("*/5 * * * *", "UTC", "2026-11-21T00:05:00Z", "2026-11-21T00:10:00Z"),
        ("*/5 * * * *", "UTC", "2026-11-21T00:05:01Z", "2026-11-21T00:10:00Z"),
        ("0 0 31 * *", "UTC", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("0 0 1 * *", "Europe/Berlin", "2026-03-15T00:00:00Z", "2026-03-31T22:00:00Z"),
        ("0 9 * * MON-FRI", "UTC", "2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z"),
    ] {
        let found = schedule::next(&schedule(cron, zone), instant(after)).unwrap();
        assert_eq!(found, instant(next), "{cron} {zone} {after}");
    }
}

/// Berlin: on 2026-03-29 there is no time from 02:00 to 02:59; on 2026-10-25 there are two of each.
#[test]
fn a_skipped_time_runs_after_the_gap_and_a_repeated_one_once() {
    let spring = ("2026-03-28T23:00:00Z", "2026-03-29T04:00:00Z");
    let autumn = ("2026-10-24T22:00:00Z", "2026-10-25T04:00:00Z");
    for (cron, (from, to), due) in [
        ("30 2 * * *", spring, vec!["2026-03-29T01:00:00Z"]),
        ("0 3 * * *", spring, vec!["2026-03-29T01:00:00Z"]),
        ("30 2 * * *", autumn, vec!["2026-10-25T00:30:00Z"]),
        (
            "0 * * * *",
            autumn,
            vec![
                "2026-10-24T22:00:00Z",
                "2026-10-24T23:00:00Z",
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
                "2026-10-25T03:00:00Z",
            ],
        ),
        (
            "0 * * * *",
            spring,
            vec![
                "2026-03-28T23:00:00Z",
                "2026-03-29T00:00:00Z",
                "2026-03-29T01:00:00Z",
                "2026-03-29T02:00:00Z",
                "2026-03-29T03:00:00Z",
            ],
        ),
    ] {
        assert_eq!(ticks(cron, "Europe/Berlin", from, to), due, "{cron} from {from}");
    }
}

#[test]
fn every_tick_and_every_next_tell_the_same_instants() {
    for (cron, zone) in [
        ("*/17 * * * *", "Europe/Berlin"),
        ("15 1-3 * * *", "Europe/Berlin"),
        ("45 1 * * *", "America/New_York"),
        ("0 0 * * *", "Africa/Cairo"),
        ("10 2 * * *", "Australia/Lord_Howe"),
    ] {
        for from in
            ["2026-03-08T05:00:00Z", "2026-03-28T23:00:00Z", "2026-04-23T20:00:00Z", "2026-10-24T22:00:00Z"]
        {
            let to = instant(from) + SignedDuration::from_hours(6);
            let mut expected = Vec::new();
            let mut at = instant(from) - SignedDuration::from_secs(1);
            loop {
                at = schedule::next(&schedule(cron, zone), at).unwrap();
                if at >= to {
                    break;
                }
                expected.push(at.to_string());
            }
            assert_eq!(ticks(cron, zone, from, &to.to_string()), expected, "{cron} {zone} {from}");
        }
    }
}

#[test]
fn what_is_not_a_schedule_is_a_configuration_failure() {
    for (cron, zone) in [
        ("", "UTC"),
        ("@hourly", "UTC"),
        ("* * * * * *", "UTC"),
        ("60 * * * *", "UTC"),
        ("0 0 31 2 *", "UTC"),
        ("0 0 * * FUN", "UTC"),
        ("0 * * * *", "Mars/Olympus"),
    ] {
        let failure = schedule::next(&schedule(cron, zone), Timestamp::UNIX_EPOCH).expect_err(cron);
        assert_eq!(failure.class, Class::Configuration, "{cron}");
        assert!(failure.hint.is_some(), "{cron}");
    }
}
