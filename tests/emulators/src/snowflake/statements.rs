//! Submitted statements: handles, states, results and request ids.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::error::SqlError;
use super::result::Outcome;

/// A statement as it was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The handle, which is the query id.
    pub handle: String,
    /// The text.
    pub statement: String,
    /// The user who submitted it.
    pub user: String,
    /// `requestId`, if one was sent.
    pub request_id: Option<String>,
    /// `parameters.query_tag`
    pub query_tag: Option<String>,
    /// The role it ran as.
    pub role: String,
    /// The warehouse it ran on.
    pub warehouse: Option<String>,
    /// `timeout` in seconds.
    pub timeout: Option<u64>,
}

/// Where a statement is.
#[derive(Clone, Debug)]
pub(crate) enum State {
    Running,
    Done(Arc<Outcome>),
    /// Several statements: the handles of the children.
    Parent(Arc<Outcome>, Vec<String>),
    Failed(SqlError),
}

/// A statement and what became of it.
pub(crate) struct Entry {
    pub(crate) submitted: Submitted,
    pub(crate) created: u64,
    pub(crate) state: State,
    /// Status requests that still answer 202.
    pub(crate) polls: u32,
    finished: Option<Instant>,
    expired: bool,
    changed: watch::Sender<bool>,
}

/// All statements of an account.
pub(crate) struct Statements {
    handles: Scramble,
    luck: Scramble,
    entries: HashMap<String, Entry>,
    order: Vec<String>,
    /// By user and request id.
    requests: HashMap<(String, String), String>,
}

/// A SplitMix64 sequence.
struct Scramble(u64);

impl Entry {
    /// Whether a status request still answers 202.
    pub(crate) fn running(&self) -> bool {
        self.polls > 0 || matches!(self.state, State::Running)
    }

    pub(crate) fn expired(&self, after: Duration) -> bool {
        self.expired || self.finished.is_some_and(|finished| finished.elapsed() >= after)
    }

    /// Turns true when the statement has run.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }
}

impl Statements {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            handles: Scramble(seed),
            luck: Scramble(!seed),
            entries: HashMap::new(),
            order: Vec::new(),
            requests: HashMap::new(),
        }
    }

    /// A new running statement; its handle is filled in.
    pub(crate) fn add(&mut self, mut submitted: Submitted, polls: u32) -> String {
        let handle = self.next_handle();
        submitted.handle.clone_from(&handle);
        if let Some(request) = &submitted.request_id {
            self.requests.insert((submitted.user.clone(), request.clone()), handle.clone());
        }
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let entry = Entry {
            submitted,
            created: u64::try_from(created).unwrap_or_default(),
            state: State::Running,
            polls,
            finished: None,
            expired: false,
            changed: watch::Sender::new(false),
        };
        self.order.push(handle.clone());
        self.entries.insert(handle.clone(), entry);
        handle
    }

    pub(crate) fn get(&mut self, handle: &str) -> Option<&mut Entry> {
        self.entries.get_mut(handle)
    }

    /// A statement of a user; those of others are as good as unknown.
    pub(crate) fn owned(&mut self, handle: &str, user: &str) -> Option<&mut Entry> {
        self.entries.get_mut(handle).filter(|entry| entry.submitted.user == user)
    }

    /// The handle an earlier submission of a user with this request id got.
    pub(crate) fn by_request(&self, user: &str, request: &str) -> Option<String> {
        self.requests.get(&(user.to_owned(), request.to_owned())).cloned()
    }

    /// True once in so many times; never for 0.
    pub(crate) fn chance(&mut self, once_in: u32) -> bool {
        once_in > 0 && self.luck.next().is_multiple_of(u64::from(once_in))
    }

    /// Records the end of a statement, unless it was cancelled before.
    pub(crate) fn finish(&mut self, handle: &str, state: State) {
        if let Some(entry) = self.entries.get_mut(handle) {
            if matches!(entry.state, State::Running) {
                entry.state = state;
            }
            entry.finished = Some(Instant::now());
            entry.changed.send_replace(true);
        }
    }

    /// Cancels a statement of a user that has not shown as finished; false if there is none.
    pub(crate) fn cancel(&mut self, handle: &str, user: &str) -> bool {
        let Some(entry) = self.owned(handle, user).filter(|entry| entry.running()) else { return false };
        entry.state = State::Failed(SqlError::new("000604", "57014", "SQL execution canceled"));
        entry.polls = 0;
        entry.finished = Some(Instant::now());
        entry.changed.send_replace(true);
        true
    }

    /// All statements so far with `RUNNING`, `SUCCESS` or `FAIL` and the code of the failure, oldest first.
    pub(crate) fn history(&self) -> Vec<(Submitted, &'static str, Option<String>)> {
        let line = |entry: &Entry| {
            let (status, code) = match &entry.state {
                State::Running => ("RUNNING", None),
                State::Failed(error) => ("FAIL", Some(error.code.clone())),
                State::Done(_) | State::Parent(..) => ("SUCCESS", None),
            };
            (entry.submitted.clone(), status, code)
        };
        self.order.iter().filter_map(|handle| self.entries.get(handle)).map(line).collect()
    }

    pub(crate) fn submitted(&self) -> Vec<Submitted> {
        self.order
            .iter()
            .filter_map(|handle| self.entries.get(handle))
            .map(|entry| entry.submitted.clone())
            .collect()
    }

    pub(crate) fn expire(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.expired = entry.finished.is_some());
    }

    /// Handles look like query ids: a UUID that starts with `01`.
    fn next_handle(&mut self) -> String {
        let [a, b] = [self.handles.next(), self.handles.next()];
        let hex = format!("{a:016x}{b:016x}");
        format!("01{}-{}-{}-{}-{}", &hex[2..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32])
    }
}

impl Scramble {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
