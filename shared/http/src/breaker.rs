//! A host that does not answer is left alone for a while.
//!
//! Each request has had its own retries by the time it counts here. After a few in a row that ended without an
//! answer, or with one that says try again, the circuit of the host opens: requests fail at once, so that nobody waits
//! for time-outs and the host has room to recover. When the pause is over one request is let through; its end closes
//! the circuit, or opens it for longer.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The first pause of a circuit, and the longest, before jitter of up to half as much again.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The circuits of all hosts. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    /// Requests in a row that must fail; 0 never opens a circuit.
    threshold: u32,
    hosts: Arc<Mutex<HashMap<String, Circuit>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Circuit {
    /// Requests in a row that failed.
    failures: u32,
    /// How often it opened since it was last closed.
    opened: u32,
    /// Until when nobody, or the one that tries, may pass.
    until: Option<Instant>,
}

impl Breaker {
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold, hosts: Arc::default() }
    }

    /// Lets a request pass, or says how long its host is left alone.
    pub(crate) fn admit(&self, host: &str, now: Instant) -> Result<(), Duration> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(circuit) = hosts.get_mut(host) else { return Ok(()) };
        match circuit.until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                // This request tries for all others: they wait until it has ended, or as long again if it never does.
                circuit.until = Some(now + pause(circuit.opened));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes how a request ended.
    pub(crate) fn ended(&self, host: &str, well: bool, now: Instant) {
        if self.threshold == 0 {
            return;
        }
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if well {
            hosts.remove(host);
            return;
        }
        let circuit = hosts.entry(host.to_owned()).or_default();
        circuit.failures += 1;
        if circuit.failures >= self.threshold {
            circuit.until = Some(now + jittered(pause(circuit.opened)));
            circuit.opened += 1;
        }
    }
}

fn pause(opened: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << opened.min(10)).min(LONGEST_PAUSE)
}

/// The hasher's keys are random: a coin is all that is needed of them.
fn jittered(pause: Duration) -> Duration {
    let percent = RandomState::new().hash_one(pause) % 50;
    pause + pause * u32::try_from(percent).unwrap_or_default() / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "https://acme.my.salesforce.com";

    fn fail(breaker: &Breaker, times: u32, now: Instant) {
        (0..times).for_each(|_| breaker.ended(HOST, false, now));
    }

    #[test]
    fn a_circuit_opens_after_failures_in_a_row_and_only_for_its_host() {
        let (breaker, now) = (Breaker::new(5), Instant::now());
        fail(&breaker, 4, now);
        breaker.ended(HOST, true, now);
        fail(&breaker, 4, now);
        assert_eq!(breaker.admit(HOST, now), Ok(()));
        fail(&breaker, 1, now);
        let left = breaker.admit(HOST, now).unwrap_err();
        assert!((FIRST_PAUSE..FIRST_PAUSE * 3 / 2).contains(&left), "{left:?}");
        assert_eq!(breaker.clone().admit("https://other", now), Ok(()));
        assert!(breaker.clone().admit(HOST, now).is_err(), "clones share the circuit");
    }

    #[test]
    fn one_request_tries_for_all_and_its_end_decides() {
        let (breaker, now) = (Breaker::new(1), Instant::now());
        fail(&breaker, 1, now);
        let later = now + FIRST_PAUSE * 2;
        assert_eq!(breaker.admit(HOST, later), Ok(()));
        assert!(breaker.admit(HOST, later).is_err(), "a second one while the first tries");
        breaker.ended(HOST, true, later);
        assert_eq!(breaker.admit(HOST, later), Ok(()));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let (breaker, mut now) = (Breaker::new(1), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            fail(&breaker, 1, now);
            pauses.push(breaker.admit(HOST, now).unwrap_err());
            now += LONGEST_PAUSE * 2;
            assert_eq!(breaker.admit(HOST, now), Ok(()), "the one that tries");
        }
        assert!(pauses[1] >= FIRST_PAUSE * 2 && pauses[2] >= FIRST_PAUSE * 4, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE * 3 / 2), "{pauses:?}");
    }

    #[test]
    fn no_threshold_no_circuit() {
        let (breaker, now) = (Breaker::new(0), Instant::now());
        fail(&breaker, 1000, now);
        assert_eq!(breaker.admit(HOST, now), Ok(()));
    }
}
