//! How often and how soon a request is sent again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Bounded retries with growing, jittered pauses.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// How often a request may be sent in all; at least once.
    pub tries: usize,
    /// The first pause, before jitter of up to as much again.
    pub first_pause: Duration,
    /// The longest pause, before jitter.
    pub longest_pause: Duration,
    /// Fixes the jitter, for tests.
    pub seed: Option<u64>,
    /// Requests in a row that may end without a useful answer before their host is left alone for a while; 0 for
    /// any number.
    pub break_after: u32,
}

impl Default for RetryPolicy {
    /// Four tries within about three seconds of pauses.
    fn default() -> Self {
        Self {
            tries: 4,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(2),
            seed: None,
            break_after: 5,
        }
    }
}

impl RetryPolicy {
    /// The same number of tries without noticeable pauses, and no host is left alone.
    #[must_use]
    pub fn immediate() -> Self {
        Self {
            first_pause: Duration::from_micros(1),
            longest_pause: Duration::from_micros(1),
            break_after: 0,
            ..Self::default()
        }
    }

    /// The pauses between the tries.
    pub(crate) fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_max_times(self.tries.saturating_sub(1))
            .with_jitter();
        match self.seed {
            Some(seed) => builder.with_jitter_seed(seed).build(),
            None => builder.build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_few_short_and_jittered() {
        let pauses =
            |seed| RetryPolicy { seed: Some(seed), ..RetryPolicy::default() }.pauses().collect::<Vec<_>>();
        assert_ne!(pauses(1), pauses(2));
        for seed in 0..100 {
            let pauses = pauses(seed);
            assert_eq!(pauses.len(), 3);
            assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(200)));
            assert!(pauses.iter().sum::<Duration>() <= Duration::from_secs(6), "{pauses:?}");
        }
        assert_eq!(RetryPolicy { tries: 1, ..RetryPolicy::default() }.pauses().count(), 0);
    }
}
