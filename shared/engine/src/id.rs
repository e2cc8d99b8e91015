//! Names and numbers, each a type of its own.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The name of a sync: its file name in `syncs/` without `.yaml`.
///
/// Lower-case letters, digits and hyphens, beginning with a letter, at most 40 characters: it is part
/// of object keys and of execution names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SyncName(String);

/// A run of a sync: the instant it was due or started, as `20261121T000300Z`, so that ids sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// The number of a chunk within its run, from 0.
pub type ChunkNo = u32;

/// What the state machine passes from stage to stage: which run this is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunRef {
    /// The sync.
    pub sync: SyncName,
    /// The run of that sync.
    pub run: RunId,
}

/// A job of a run: its wave and its number within the wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobRef {
    /// The pass of Load, from 1.
    pub wave: u32,
    /// The number within the wave, from 0.
    pub job: u32,
}

/// 64-bit XXH3 over a mapped record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub u64);

impl SyncName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SyncName {
    type Error = Failure;

    fn try_from(name: String) -> Result<Self, Failure> {
        let well_formed = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 40
            && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if well_formed {
            return Ok(Self(name));
        }
        Err(Failure::configuration(format!("`{name}` is not a sync name"))
            .hint("use at most 40 lower-case letters, digits and hyphens, beginning with a letter"))
    }
}

impl RunId {
    /// The id of a run due or started at `instant`, to the second.
    #[must_use]
    pub fn at(instant: Timestamp) -> Self {
        Self(instant.strftime("%Y%m%dT%H%M%SZ").to_string())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instant the id was made from.
    #[must_use]
    pub fn instant(&self) -> Timestamp {
        parse_instant(&self.0).expect("a run id is checked when it is made")
    }
}

fn parse_instant(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

impl TryFrom<String> for RunId {
    type Error = Failure;

    fn try_from(id: String) -> Result<Self, Failure> {
        match parse_instant(&id) {
            Some(instant) if Self::at(instant).0 == id => Ok(Self(id)),
            _ => Err(Failure::configuration(format!("`{id}` is not a run id"))
                .hint("a run id is an instant such as 20261121T000300Z")),
        }
    }
}

impl RunRef {
    /// The name of the execution that carries out this run: at most one exists.
    #[must_use]
    pub fn execution_name(&self) -> String {
        format!("{}-{}", self.sync, self.run)
    }

    /// The name of the execution that sends the plan of this run.
    #[must_use]
    pub fn applying_name(&self) -> String {
        format!("{}-{}-apply", self.sync, self.run)
    }

    /// The name of the execution that settles what this run left, so that `next` can begin.
    #[must_use]
    pub fn settling_name(&self, next: &RunId) -> String {
        format!("{}-{}-{next}", self.sync, self.run)
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sync, self.run)
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:03}", self.wave, self.job)
    }
}

macro_rules! text_id {
    ($name:ident) => {
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
        impl FromStr for $name {
            type Err = Failure;
            fn from_str(text: &str) -> Result<Self, Failure> {
                Self::try_from(text.to_owned())
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
text_id!(SyncName);
text_id!(RunId);
