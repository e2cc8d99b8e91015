//! The guard rails: what a run may change without a person's leave.
//!
//! They are judged once, when the plan is frozen, and stand in it. A plan that goes past one is let through only when
//! a person has released just this plan.

use crate::{
    Failure, RunRef,
    config::{Share, Span, Sync},
    document::{Judged, Mapped, Rail},
    report::thousands,
};

/// What the rails are held against, besides the counts of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Records of the baseline.
    pub baseline: u64,
    /// Only a part of the model was read.
    pub narrowed: bool,
    /// How old the model is, in seconds, for a sync that wants to know.
    pub age: Option<u64>,
}

/// Holds the counts of a run against every rail that there is for the sync, in the order of [`Rail`].
#[must_use]
pub fn judge(sync: &Sync, totals: &Mapped, known: Known) -> Vec<Judged> {
    let (guard, operation) = (&sync.guard, sync.destination.operation);
    let whole = if known.baseline > 0 { known.baseline } else { totals.read };
    let of = |share: Option<Share>| share.map(|share| share.of(whole));
    let of_whole_model = |limit: Option<u64>| limit.filter(|_| !known.narrowed);
    let (field, cleared) = most_cleared(totals);
    let empty = (operation.updates() && known.baseline > 0).then_some(1);
    let age = sync.model.fresh.as_ref().filter(|_| known.age.is_some()).map(|fresh| fresh.max_age.0);
    [
        (Rail::EmptyModel, of_whole_model(empty), totals.read),
        (Rail::MinRows, of_whole_model(of(guard.min_rows)), totals.read),
        (Rail::MaxAge, age, known.age.unwrap_or_default()),
        (Rail::MaxChanges, of(guard.max_changes), totals.sent()),
        (Rail::MaxCreated, of(guard.max_created), totals.added),
        (Rail::MaxRemoved, of_whole_model(guard.most_removed(operation, whole)), totals.removed),
        (Rail::MaxCleared, of(guard.max_cleared), cleared),
    ]
    .into_iter()
    .filter_map(|(rail, limit, found)| {
        let field = field.filter(|_| rail == Rail::MaxCleared).cloned();
        Some(Judged { rail, limit: limit?, found, field })
    })
    .collect()
}

/// The field of which the most cells are cleared.
fn most_cleared(totals: &Mapped) -> (Option<&String>, u64) {
    let most = totals.cleared.iter().max_by_key(|(_, cells)| **cells);
    most.map_or((None, 0), |(field, cells)| (Some(field), *cells))
}

/// Stops a run whose plan goes past a rail.
///
/// # Errors
/// [`crate::Class::Guard`] that names every such rail, by how much, and what to do.
pub fn check(run: &RunRef, judged: &[Judged]) -> Result<(), Failure> {
    let over: Vec<String> = judged.iter().filter(|one| one.is_over()).map(Judged::sentence).collect();
    if over.is_empty() {
        return Ok(());
    }
    let RunRef { sync, run: id } = run;
    Err(Failure::guard(format!("nothing was sent: {}", over.join("; "))).hint(format!(
        "if that is right, release this plan: `backhaul run {sync} --run {id} --release`, or the function `plan` with \
         {{\"sync\":\"{sync}\",\"run\":\"{id}\",\"wave\":1,\"release\":true}} and a redrive of the execution; if not, \
         mend the model, and the next run begins anew"
    )))
}

impl Rail {
    /// The key of a sync file that sets it; none for what always holds.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Self::EmptyModel => None,
            Self::MinRows => Some("guard.min_rows"),
            Self::MaxAge => Some("model.fresh.max_age"),
            Self::MaxChanges => Some("guard.max_changes"),
            Self::MaxCreated => Some("guard.max_created"),
            Self::MaxRemoved => Some("guard.max_removed"),
            Self::MaxCleared => Some("guard.max_cleared"),
        }
    }

    /// The limit is the least that is right, not the most.
    const fn is_least(self) -> bool {
        matches!(self, Self::EmptyModel | Self::MinRows)
    }
}

impl Judged {
    /// The run goes past this rail.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        if self.rail.is_least() { self.found < self.limit } else { self.found > self.limit }
    }

    /// What was found, and what the rail allows: a fragment with the key of the sync file.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { rail, limit, found, .. } = self;
        let Some(key) = rail.key() else { return self.fact() };
        let fact = self.fact();
        match rail {
            Rail::MaxAge => format!("{fact}, and `{key}` allows {}", Span(*limit)),
            _ if !self.is_over() => format!("{fact}, and `{key}` allows {}", thousands(*limit)),
            _ => {
                let than = if rail.is_least() { "fewer than" } else { "more than" };
                let by = thousands(found.abs_diff(*limit));
                format!("{fact}, {by} {than} the {} of `{key}`", thousands(*limit))
            }
        }
    }

    fn fact(&self) -> String {
        let (found, field) = (self.found, self.field.as_deref().unwrap_or("any field"));
        match self.rail {
            Rail::EmptyModel if found == 0 => "the model is empty, and the baseline is not".to_owned(),
            Rail::EmptyModel => "the model is not empty".to_owned(),
            Rail::MinRows => format!("the model has {}", counted(found, "row")),
            Rail::MaxAge => format!("the newest row is {} old", rough(found)),
            Rail::MaxChanges => format!("{} would be sent", counted(found, "row")),
            Rail::MaxCreated => format!("{} would be new", counted(found, "row")),
            Rail::MaxRemoved => format!("{} left the model", counted(found, "key")),
            Rail::MaxCleared => format!("{} of `{field}` would be sent as NULL", counted(found, "cell")),
        }
    }
}

fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", thousands(number)) }
}

/// A length of time in its two greatest units.
fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}
