//! Metrics as log lines in the embedded metric format:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
//!
//! The one dimension is the sync: each further one would be charged as a metric of its own. The
//! function is a mere field of the line.

use std::{
    io::{self, Write},
    time::SystemTime,
};

use engine::SyncName;
use serde_json::{Map, Value, json};

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Thousandths of a second.
    Milliseconds,
}

/// Writes one line that CloudWatch turns into metrics of the namespace `Backhaul`.
///
/// A line that cannot be written is dropped: a metric never fails a stage.
pub fn metrics(function: &str, sync: &SyncName, values: &[(&str, Unit, u64)]) {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let line = line(function, sync, values, u64::try_from(since_epoch.as_millis()).unwrap_or_default());
    let _ = writeln!(io::stdout(), "{line}");
}

fn line(function: &str, sync: &SyncName, values: &[(&str, Unit, u64)], timestamp: u64) -> Value {
    let metrics: Vec<_> =
        values.iter().map(|(name, unit, _)| json!({"Name": name, "Unit": unit.name()})).collect();
    let directive = json!({"Namespace": "Backhaul", "Dimensions": [["sync"]], "Metrics": metrics});
    let mut line = Map::new();
    line.insert("_aws".to_owned(), json!({"Timestamp": timestamp, "CloudWatchMetrics": [directive]}));
    line.insert("function".to_owned(), function.into());
    line.insert("sync".to_owned(), sync.as_str().into());
    line.extend(values.iter().map(|(name, _, value)| ((*name).to_owned(), (*value).into())));
    line.into()
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
            Self::Seconds => "Seconds",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_which_of_its_fields_are_metrics() {
        let sync = "customers".parse().unwrap();
        let line =
            line("finish", &sync, &[("rejected", Unit::Count, 3), ("duration", Unit::Seconds, 60)], 17);
        let expected = json!({
            "_aws": {"Timestamp": 17, "CloudWatchMetrics": [{
                "Namespace": "Backhaul",
                "Dimensions": [["sync"]],
                "Metrics": [{"Name": "rejected", "Unit": "Count"}, {"Name": "duration", "Unit": "Seconds"}],
            }]},
            "function": "finish", "sync": "customers", "rejected": 3, "duration": 60,
        });
        assert_eq!(line, expected);
    }
}
