//! Every environment variable that a function reads, in one place.
//!
//! Region, credentials and endpoints are the AWS SDK's own (`AWS_REGION`, `AWS_ENDPOINT_URL` and so on).

use engine::Failure;

/// An environment variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it says, as a sentence.
    pub about: &'static str,
}

/// The bucket that records every run.
pub const BUCKET: Variable =
    Variable { name: "BACKHAUL_BUCKET", about: "Name of the S3 bucket that records every run." };

/// The folder of the syncs; [`LAYER`] when it is not set.
pub const SYNCS: Variable = Variable {
    name: "BACKHAUL_SYNCS",
    about: "Folder with one YAML file per sync; `/opt`, where the layer lies, when it is not set.",
};

/// The secret for Snowflake.
pub const SNOWFLAKE_SECRET: Variable = Variable {
    name: "BACKHAUL_SNOWFLAKE_SECRET",
    about: "Name or ARN of the secret with the Snowflake account, user and private key.",
};

/// The secret for Salesforce.
pub const SALESFORCE_SECRET: Variable = Variable {
    name: "BACKHAUL_SALESFORCE_SECRET",
    about: "Name or ARN of the secret with the Salesforce login URL, client id, user name and private key.",
};

/// The state machine that carries out runs.
pub const STATE_MACHINE: Variable =
    Variable { name: "BACKHAUL_STATE_MACHINE", about: "ARN of the state machine that carries out a run." };

/// How much is logged; `info` when it is not set.
pub const LOG: Variable = Variable {
    name: "BACKHAUL_LOG",
    about: "How much is logged: `off`, `error`, `warn`, `info` (when it is not set), `debug` or `trace`. \
            Libraries never say more than `warn`, because their details may hold values.",
};

/// Where Lambda unpacks the layer with the syncs.
pub const LAYER: &str = "/opt";

/// Every variable, in the order of the documentation.
pub const ALL: [Variable; 6] = [BUCKET, SYNCS, SNOWFLAKE_SECRET, SALESFORCE_SECRET, STATE_MACHINE, LOG];

impl Variable {
    /// What the variable holds; an empty one counts as not set.
    #[must_use]
    pub fn read(self) -> Option<String> {
        self.read_from(|name| std::env::var(name).ok())
    }

    /// What the variable holds.
    ///
    /// # Errors
    /// `Configuration` when it is not set.
    pub fn required(self) -> Result<String, Failure> {
        self.or_missing(self.read())
    }

    fn read_from(self, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
        environment(self.name).filter(|value| !value.trim().is_empty())
    }

    fn or_missing(self, value: Option<String>) -> Result<String, Failure> {
        value.ok_or_else(|| {
            Failure::configuration(format!("environment variable `{}` is not set", self.name))
                .hint(self.about)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Class;

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        assert_eq!(BUCKET.read_from(|name| Some(format!("{name}!"))), Some("BACKHAUL_BUCKET!".to_owned()));
        for value in [None, Some(""), Some(" ")] {
            assert_eq!(BUCKET.read_from(|_| value.map(str::to_owned)), None, "{value:?}");
        }
    }

    #[test]
    fn a_missing_variable_is_named_and_explained() {
        let failure = BUCKET.or_missing(None).unwrap_err();
        assert_eq!(failure.class, Class::Configuration);
        assert_eq!(failure.message, "environment variable `BACKHAUL_BUCKET` is not set");
        assert_eq!(failure.hint.as_deref(), Some(BUCKET.about));
    }
}
