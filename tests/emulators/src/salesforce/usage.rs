//! How much of the org's allocations is used: counts over rolling windows of the org's time, and calls at work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use super::{Limits, UNPOISONED};

const HOUR: i64 = 3_600_000;
/// A day in milliseconds.
pub(crate) const DAY: i64 = 24 * HOUR;
/// From when on a call counts as long, in milliseconds.
const LONG: i64 = 20_000;
/// Parts of a window that are counted as one: enough that the window rolls smoothly, few enough to keep.
const PARTS: i64 = 1_440;

/// A count over the last hours: what is older comes free again.
#[derive(Debug)]
pub(crate) struct Rolling {
    span: i64,
    most: u64,
    parts: Mutex<VecDeque<(i64, u64)>>,
}

impl Rolling {
    fn new(span: i64, most: u64) -> Self {
        Self { span, most, parts: Mutex::default() }
    }

    /// Takes so many at an instant; what is used then. `None` if fewer are left: nothing is taken.
    pub(crate) fn take(&self, now: i64, many: u64) -> Option<u64> {
        let mut parts = self.recent(now);
        let used = parts.iter().map(|(_, count)| count).sum::<u64>().saturating_add(many);
        if used > self.most {
            return None;
        }
        match parts.back_mut() {
            Some((since, count)) if now - *since < self.span / PARTS => *count += many,
            _ => parts.push_back((now, many)),
        }
        Some(used)
    }

    /// How many are left at an instant.
    pub(crate) fn left(&self, now: i64) -> u64 {
        let used = self.recent(now).iter().map(|(_, count)| count).sum();
        self.most.saturating_sub(used)
    }

    /// `{"Max":…,"Remaining":…}`, the form of the resource `limits`.
    pub(crate) fn show(&self, now: i64) -> serde_json::Value {
        serde_json::json!({"Max": self.most, "Remaining": self.left(now)})
    }

    fn recent(&self, now: i64) -> MutexGuard<'_, VecDeque<(i64, u64)>> {
        let mut parts = self.parts.lock().expect(UNPOISONED);
        while parts.front().is_some_and(|(since, _)| since + self.span <= now) {
            parts.pop_front();
        }
        parts
    }
}

/// The use of an org's allocations.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) calls: Rolling,
    pub(crate) batches: Rolling,
    pub(crate) rows: Rolling,
    pub(crate) query_jobs: Rolling,
    pub(crate) logins: Rolling,
    most_calls: u64,
    long_calls: u64,
    running: Mutex<Running>,
}

/// When the calls at work began.
#[derive(Debug, Default)]
struct Running {
    last: u64,
    begun: BTreeMap<u64, i64>,
}

/// A call at work; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    usage: &'a Usage,
    number: u64,
}

impl Usage {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: Rolling::new(DAY, limits.daily_api_requests),
            batches: Rolling::new(DAY, limits.daily_batches),
            rows: Rolling::new(DAY, limits.daily_rows),
            query_jobs: Rolling::new(DAY, limits.daily_query_jobs),
            logins: Rolling::new(HOUR, limits.logins_per_hour),
            most_calls: limits.daily_api_requests,
            long_calls: limits.long_calls,
            running: Mutex::default(),
        }
    }

    /// The header that tells how much of the day's calls is used.
    pub(crate) fn header(&self, now: i64) -> String {
        format!("api-usage={}/{}", self.most_calls - self.calls.left(now), self.most_calls)
    }

    /// Lets a call in; the error is the message of the refusal.
    pub(crate) fn enter(&self, now: i64) -> Result<Call<'_>, &'static str> {
        let mut running = self.running.lock().expect(UNPOISONED);
        let long = running.begun.values().filter(|since| *since + LONG <= now).count();
        if u64::try_from(long).unwrap_or(u64::MAX) >= self.long_calls {
            return Err("ConcurrentRequests (Concurrent API Requests) Limit exceeded.");
        }
        self.calls.take(now, 1).ok_or("TotalRequests Limit exceeded.")?;
        running.last += 1;
        let number = running.last;
        running.begun.insert(number, now);
        Ok(Call { usage: self, number })
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.usage.running.lock().expect(UNPOISONED).begun.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_a_day_ago_comes_back() {
        let rolling = Rolling::new(DAY, 3);
        assert_eq!(
            (rolling.take(0, 2), rolling.take(HOUR, 1), rolling.take(HOUR, 1)),
            (Some(2), Some(3), None)
        );
        assert_eq!((rolling.left(DAY - 1), rolling.left(DAY), rolling.take(DAY, 3)), (0, 2, None));
        assert_eq!(rolling.left(DAY + HOUR), 3);
    }

    #[test]
    fn only_calls_of_twenty_seconds_stand_in_the_way() {
        let usage = Usage::new(&Limits { long_calls: 1, ..Limits::default() });
        let first = usage.enter(0).unwrap();
        assert!(usage.enter(LONG - 1).is_ok());
        assert!(usage.enter(LONG).unwrap_err().starts_with("ConcurrentRequests"));
        drop(first);
        assert!(usage.enter(LONG).is_ok());
    }
}
