//! What ends a stage.
//!
//! A record's fault is data and never comes here. A [`Failure`] ends one stage and carries the
//! [`Class`] that the state machine matches by name (`ErrorEquals`), so that waiting, retrying and
//! giving up are decided there and not in code.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// What should happen after a stage has failed. The names are the error names of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// The same call may succeed in a moment.
    Transient,
    /// An allowance is used up; it comes back with time.
    Quota,
    /// Another run or writer holds what this stage needs.
    Contention,
    /// A person has to change the sync, a secret, a permission or the object.
    Configuration,
    /// A guard rail stopped the run before it sent anything.
    Guard,
    /// Backhaul contradicts itself: never expected, always worth a report.
    Bug,
}

impl Class {
    /// Every class, in the order of the enum.
    pub const ALL: [Self; 6] =
        [Self::Transient, Self::Quota, Self::Contention, Self::Configuration, Self::Guard, Self::Bug];

    /// The error name that the state machine sees.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Quota => "Quota",
            Self::Contention => "Contention",
            Self::Configuration => "Configuration",
            Self::Guard => "Guard",
            Self::Bug => "Bug",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The end of a stage: what is wrong, and apart from it what to do.
///
/// The message is a lower-case fragment that names its subject in backticks. It never holds a value
/// of a record or a part of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What should happen next.
    pub class: Class,
    /// What is wrong, and where.
    pub message: String,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure of the given class, without advice.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None }
    }

    /// The same call may succeed in a moment.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Class::Transient, message)
    }

    /// An allowance is used up.
    pub fn quota(message: impl Into<String>) -> Self {
        Self::new(Class::Quota, message)
    }

    /// Another run or writer holds what this stage needs.
    pub fn contention(message: impl Into<String>) -> Self {
        Self::new(Class::Contention, message)
    }

    /// A person has to change something.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(Class::Configuration, message)
    }

    /// A guard rail stopped the run.
    pub fn guard(message: impl Into<String>) -> Self {
        Self::new(Class::Guard, message)
    }

    /// Backhaul contradicts itself.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Class::Bug, message)
    }

    /// What a failed read or write stands for: the failure it carries, or a transient one.
    ///
    /// Streams of the store and of the clients put their own failure inside the [`io::Error`].
    #[must_use]
    pub fn io(subject: &str, error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            Some(failure) => failure.clone(),
            None => Self::transient(format!("{subject} cannot be read or written: {}", error.kind())),
        }
    }

    /// The same failure with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with its place put before the message: `place: message`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}
