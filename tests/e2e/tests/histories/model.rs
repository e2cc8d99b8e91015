//! What a run may write. The model knows rows and records, and nothing of fingerprints, segments, plans and jobs.
//!
//! It follows the rows through the warehouse, notes what each run was shown, and holds every write in the org's audit log
//! against that: it has to change what is known of the record, into what the operation makes of it.

use std::collections::BTreeMap;

use e2e::world::World;
use emulators::salesforce::Written;

const CUSTOMER: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.CUSTOMER";
const ALL: &str = "SNOWFLAKE_SAMPLE_DATA.TPCH_SF1.ALL_CUSTOMERS";

/// Rows move in so many groups; the first never leaves, because no run takes an empty model for granted.
pub const GROUPS: usize = 4;

/// What a sync does with its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert,
    Upsert,
    /// A mirror that deletes the records of rows that have left.
    Delete,
    /// A mirror that clears fields of them.
    Clear,
}

/// What happens to a group of rows in the warehouse.
#[derive(Clone, Copy, Debug)]
pub enum Move {
    Leave,
    /// They are as they were at first.
    Return,
    /// They get one of a few names, perhaps the one they have.
    Rename(u32),
}

/// The names of the rows of a model, by key.
type Rows = BTreeMap<String, String>;

/// What a history changes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    name: Option<String>,
    /// The fields that a mirror may clear have values.
    full: bool,
}

impl Operation {
    /// As the file of a sync says it.
    pub fn in_yaml(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Delete => "mirror\n  on_removed: delete",
            Self::Clear => "mirror\n  on_removed: {clear: [Phone, Description]}",
        }
    }

    /// The record of a key, once a run has taken its row to the org, or has seen that there is none.
    fn makes(self, row: Option<&String>, record: Option<&Record>) -> Option<Record> {
        match (self, row, record) {
            (Self::Insert, _, Some(record)) => Some(record.clone()),
            (_, Some(name), _) => Some(Record { name: Some(name.clone()), full: true }),
            (Self::Delete, None, _) => None,
            (Self::Clear, None, Some(record)) => Some(Record { full: false, ..record.clone() }),
            (_, None, record) => record.cloned(),
        }
    }
}

/// A warehouse and an org, as far as a history is about them.
pub struct Model {
    operation: Operation,
    at_first: Rows,
    rows: Rows,
    /// What each run was shown.
    shown: BTreeMap<String, Rows>,
    records: BTreeMap<String, Record>,
    /// The records of keys that an upsert has forgotten are written once more when their rows come back.
    forgotten: BTreeMap<String, Record>,
    /// The key of a record's id.
    keys: BTreeMap<String, String>,
    /// Statements and writes that were looked at.
    statements: usize,
    writes: usize,
}

impl Model {
    pub fn new(operation: Operation, world: &World) -> Self {
        world.snowflake.execute(&format!("CREATE TABLE {ALL} AS SELECT * FROM {CUSTOMER}")).unwrap();
        let all = world.snowflake.execute(&format!("SELECT C_CUSTKEY, C_NAME FROM {ALL}")).unwrap();
        let text = |cell: &Option<String>| cell.clone().unwrap();
        let at_first: Rows = all.rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect();
        Self {
            operation,
            rows: at_first.clone(),
            at_first,
            shown: BTreeMap::new(),
            records: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            keys: BTreeMap::new(),
            statements: 0,
            writes: 0,
        }
    }

    /// Moves a group of rows, once nobody reads them.
    pub async fn carry_out(&mut self, world: &World, what: Move, group: usize) {
        while world.snowflake.running() > 0 {
            tokio::task::yield_now().await;
        }
        self.note_what_runs_are_shown(world);
        let of_group = |key: &str| key.parse::<usize>().unwrap() % GROUPS == group;
        let keys: Vec<String> = self.at_first.keys().filter(|key| of_group(key)).cloned().collect();
        let (away, there): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| !self.rows.contains_key(key));
        let (keys, sql) = match what {
            Move::Leave => (there, format!("DELETE FROM {CUSTOMER}")),
            Move::Return => (away, format!("INSERT INTO {CUSTOMER} SELECT * FROM {ALL}")),
            Move::Rename(name) => (there, format!("UPDATE {CUSTOMER} SET C_NAME = 'name {name}'")),
        };
        if keys.is_empty() {
            return;
        }
        world.snowflake.execute(&format!("{sql} WHERE C_CUSTKEY IN ({})", keys.join(", "))).unwrap();
        for key in keys {
            match what {
                Move::Leave => drop(self.rows.remove(&key)),
                Move::Return => drop(self.rows.insert(key.clone(), self.at_first[&key].clone())),
                Move::Rename(name) => drop(self.rows.insert(key, format!("name {name}"))),
            }
        }
    }

    fn note_what_runs_are_shown(&mut self, world: &World) {
        for statement in world.snowflake.submitted().split_off(self.statements) {
            self.statements += 1;
            let tag: serde_json::Value = serde_json::from_str(&statement.query_tag.unwrap()).unwrap();
            self.shown.insert(tag["run"].as_str().unwrap().to_owned(), self.rows.clone());
        }
    }

    /// A run has committed: of keys that it was not shown, an upsert knows nothing any more.
    pub fn committed(&mut self, run: &str) {
        if self.operation == Operation::Upsert {
            let shown = &self.shown[run];
            let gone = self.records.iter().filter(|(key, _)| !shown.contains_key(*key));
            self.forgotten.extend(gone.map(|(key, record)| (key.clone(), record.clone())));
        }
    }

    /// Judges the writes that are new in the audit log, which one of these runs must have sent.
    pub fn judge(&mut self, world: &World, senders: &[String]) -> Result<(), String> {
        self.note_what_runs_are_shown(world);
        for written in world.org.audit().split_off(self.writes) {
            self.writes += 1;
            if written.object == "Account" {
                self.judge_write(&written, senders)?;
            }
        }
        Ok(())
    }

    fn judge_write(&mut self, written: &Written, senders: &[String]) -> Result<(), String> {
        if written.created {
            self.keys.insert(written.id.clone(), written.after["Customer_Key__c"].clone());
        }
        let key = &self.keys[&written.id];
        let before = self.records.get(key).cloned();
        let after = after(written, before.as_ref());
        let makes = |run: &String| Some(self.operation.makes(self.shown.get(run)?.get(key), before.as_ref()));
        let changes = after != before || self.forgotten.remove(key).is_some();
        if !changes || !senders.iter().any(|run| makes(run).as_ref() == Some(&after)) {
            return Err(format!("{key} was {before:?} and became {after:?}, sent by one of {senders:?}"));
        }
        match after {
            Some(record) => drop(self.records.insert(key.clone(), record)),
            None => drop(self.records.remove(key)),
        }
        Ok(())
    }

    /// Nothing is left to be written, and the org holds what was written.
    pub fn judge_end(&self, world: &World) -> Result<u64, String> {
        for key in self.at_first.keys() {
            let (row, record) = (self.rows.get(key), self.records.get(key));
            if self.operation.makes(row, record).as_ref() != record {
                return Err(format!("{key} stays {record:?}, and its row is {row:?}"));
            }
        }
        let mut records = BTreeMap::new();
        world.org.visit("Account", |fields| {
            let key = fields.get("Customer_Key__c").cloned();
            records.extend(key.map(|key| (key, record(&fields))));
        });
        match records == self.records {
            true => Ok(self.rows.len() as u64),
            false => Err("the org holds other records than were written".to_owned()),
        }
    }
}

fn record(fields: &BTreeMap<String, String>) -> Record {
    let full = fields.contains_key("Phone") && fields.contains_key("Description");
    Record { name: fields.get("Name").cloned(), full }
}

/// What a write leaves of a record. One that only clears fields does not name the others.
fn after(written: &Written, before: Option<&Record>) -> Option<Record> {
    let Record { name, full } = record(&written.after);
    let name = name.or_else(|| before.and_then(|before| before.name.clone()));
    (!written.deleted).then_some(Record { name, full })
}
