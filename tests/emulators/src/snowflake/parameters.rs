//! The `parameters` of a submission: a closed list of names, and values that have to fit them.
//!
//! <https://docs.snowflake.com/en/developer-guide/sql-api/reference#body-of-the-post-request-to-api-v2-statements>

use std::collections::HashMap;

use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json};

use super::formats::Formats;

/// The only keys there may be.
const NAMES: [&str; 13] = [
    "binary_output_format",
    "client_result_chunk_size",
    "date_output_format",
    "multi_statement_count",
    "query_tag",
    "rows_per_resultset",
    "time_output_format",
    "timestamp_output_format",
    "timestamp_ltz_output_format",
    "timestamp_ntz_output_format",
    "timestamp_tz_output_format",
    "timezone",
    "use_cached_result",
];

/// Parameters by lower-case name.
#[derive(Debug)]
pub(crate) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// # Errors
    /// What is wrong with the first one that is not supported, for 391917.
    pub(crate) fn read(parameters: &Map<String, Json>) -> Result<Self, String> {
        let mut out = HashMap::new();
        for (key, value) in parameters {
            let name = key.to_lowercase();
            if !NAMES.contains(&name.as_str()) {
                return Err(format!("Parameter {key} is not supported by the SQL API."));
            }
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if !fits(&name, &text) {
                return Err(format!("The value of {} is not valid.", name.to_uppercase()));
            }
            out.insert(name, text);
        }
        Ok(Self(out))
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name).and_then(|text| text.parse().ok())
    }

    /// The format of all timestamps counts for those that have none of their own.
    pub(crate) fn formats(&self) -> Formats {
        let timestamp = |name: &str| self.text(name).or_else(|| self.text("timestamp_output_format"));
        Formats {
            date: self.text("date_output_format"),
            time: self.text("time_output_format"),
            ntz: timestamp("timestamp_ntz_output_format"),
            ltz: timestamp("timestamp_ltz_output_format"),
            tz: timestamp("timestamp_tz_output_format"),
            base64: self.text("binary_output_format").is_some_and(|text| text.eq_ignore_ascii_case("BASE64")),
            zone: self.text("timezone").and_then(|name| TimeZone::get(&name).ok()),
        }
    }
}

fn fits(name: &str, text: &str) -> bool {
    match name {
        "query_tag" => text.chars().count() <= 2000,
        "client_result_chunk_size" => text.parse().is_ok_and(|size: u64| (16..=160).contains(&size)),
        "multi_statement_count" | "rows_per_resultset" => text.parse::<u64>().is_ok(),
        "use_cached_result" => ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word)),
        "binary_output_format" => ["HEX", "BASE64"].iter().any(|word| text.eq_ignore_ascii_case(word)),
        "timezone" => TimeZone::get(text).is_ok(),
        _ => true,
    }
}
