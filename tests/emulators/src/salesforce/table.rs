//! The records of one object, packed so that a million of them fit in memory, with indexes on key fields.

use std::borrow::Cow;
use std::collections::HashMap;

use super::ids;
use super::schema::{Field, Kind, Object};
use super::value::stamp_ms;

/// A length byte that says "no value".
const NULL: u8 = 255;
/// A length byte that says "the length follows in four bytes".
const LONG: u8 = 254;

/// Where a field's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Id,
    Deleted,
    Created,
    Modified,
    Number,
    Owner,
    Cell(usize),
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The stored cells one after the other, each with its length before it.
    cells: Box<[u8]>,
    pub(crate) created: i64,
    pub(crate) modified: i64,
    pub(crate) deleted: bool,
}

/// All records of one object.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    slots: Vec<Slot>,
    width: usize,
    prefix: String,
    /// By field: the rows that hold a value.
    indexes: HashMap<usize, Index>,
    /// Records created, updated and deleted so far.
    pub(crate) written: [u64; 3],
}

#[derive(Debug)]
struct Index {
    fold: bool,
    rows: HashMap<Box<str>, Matches>,
}

#[derive(Debug)]
enum Matches {
    One(u32),
    Many(Vec<u32>),
}

impl Table {
    pub(crate) fn new(object: &Object) -> Self {
        let mut width = 0;
        let slots = object.fields.iter().map(|field| slot(field, &mut width)).collect();
        let indexed = object.fields.iter().enumerate();
        let indexed =
            indexed.filter(|(_, field)| field.kind != Kind::Id && (field.unique || field.is_match_field()));
        let indexes = indexed
            .filter(|(_, field)| !field.auto_number)
            .map(|(at, field)| (at, Index { fold: !field.case_sensitive, rows: HashMap::new() }))
            .collect();
        let prefix = object.prefix.clone();
        Self { rows: Vec::new(), slots, width, prefix, indexes, written: [0; 3] }
    }

    /// The id of a row.
    pub(crate) fn id(&self, row: u32) -> String {
        ids::id(&self.prefix, u64::from(row) + 1)
    }

    /// The row an id names, deleted or not.
    pub(crate) fn row_of(&self, id: &str) -> Option<u32> {
        let row = u32::try_from(ids::ordinal(&self.prefix, id)?.checked_sub(1)?).ok()?;
        self.rows.get(usize::try_from(row).ok()?).map(|_| row)
    }

    pub(crate) fn row(&self, row: u32) -> &Row {
        &self.rows[place(row)]
    }

    /// A field's value, in the form in which it is kept.
    pub(crate) fn value(&self, row: u32, field: usize) -> Option<Cow<'_, str>> {
        let record = self.row(row);
        match self.slots[field] {
            Slot::Id => Some(Cow::Owned(self.id(row))),
            Slot::Deleted => Some(Cow::Borrowed(if record.deleted { "true" } else { "false" })),
            Slot::Created => Some(Cow::Owned(stamp_ms(record.created))),
            Slot::Modified => Some(Cow::Owned(stamp_ms(record.modified))),
            Slot::Number => Some(Cow::Owned(format!("O-{:07}", u64::from(row) + 1))),
            Slot::Owner => {
                cell(&record.cells, 0).map(Cow::Borrowed).or_else(|| Some(Cow::Owned(ids::id("005", 1))))
            }
            Slot::Cell(at) => cell(&record.cells, at).map(Cow::Borrowed),
        }
    }

    /// Whether a field has an index.
    pub(crate) fn is_indexed(&self, field: usize) -> bool {
        self.indexes.contains_key(&field)
    }

    /// The rows that hold a value in an indexed field.
    pub(crate) fn find(&self, field: usize, value: &str) -> Vec<u32> {
        let Some(index) = self.indexes.get(&field) else { return Vec::new() };
        match index.rows.get(index.folded(value).as_ref()) {
            None => Vec::new(),
            Some(Matches::One(row)) => vec![*row],
            Some(Matches::Many(rows)) => rows.clone(),
        }
    }

    /// Adds a record with the given values.
    pub(crate) fn insert(&mut self, sets: &[(usize, Option<String>)], now: i64) -> u32 {
        let row = u32::try_from(self.rows.len()).expect("far fewer than four billion records");
        let cells = self.packed(None, sets);
        self.rows.push(Row { cells, created: now, modified: now, deleted: false });
        self.index(row, true);
        row
    }

    /// Changes the given values of a record.
    pub(crate) fn update(&mut self, row: u32, sets: &[(usize, Option<String>)], now: i64) {
        self.index(row, false);
        let cells = self.packed(Some(row), sets);
        let record = &mut self.rows[place(row)];
        record.cells = cells;
        record.modified = now;
        self.index(row, true);
    }

    /// Moves a record to the recycle bin; its keys are free again.
    pub(crate) fn delete(&mut self, row: u32, now: i64) {
        self.index(row, false);
        let record = &mut self.rows[place(row)];
        record.deleted = true;
        record.modified = now;
    }

    /// Puts a record back to what it was; `None` takes back the newest record.
    pub(crate) fn restore(&mut self, row: u32, before: Option<Row>) {
        if !self.row(row).deleted {
            self.index(row, false);
        }
        match before {
            Some(before) => {
                self.rows[place(row)] = before;
                self.index(row, true);
            }
            None => {
                self.rows.pop();
            }
        }
    }

    fn packed(&self, row: Option<u32>, sets: &[(usize, Option<String>)]) -> Box<[u8]> {
        let old = row.map(|row| &*self.row(row).cells);
        let mut values: Vec<Option<&str>> = match old {
            Some(cells) => Cells(cells).collect(),
            None => vec![None; self.width],
        };
        for (field, value) in sets {
            match self.slots[*field] {
                Slot::Cell(at) => values[at] = value.as_deref(),
                Slot::Owner => values[0] = value.as_deref(),
                _ => {}
            }
        }
        let mut packed = Vec::with_capacity(64);
        values.into_iter().for_each(|value| push_cell(&mut packed, value));
        packed.into_boxed_slice()
    }

    /// Enters a row into the indexes, or takes it out.
    fn index(&mut self, row: u32, enter: bool) {
        let Self { rows, slots, indexes, .. } = self;
        for (field, index) in indexes {
            let Slot::Cell(at) = slots[*field] else { continue };
            let Some(value) = cell(&rows[place(row)].cells, at) else { continue };
            if enter { index.enter(value, row) } else { index.leave(value, row) }
        }
    }
}

impl Index {
    fn folded<'a>(&self, value: &'a str) -> Cow<'a, str> {
        if self.fold && value.chars().any(char::is_uppercase) {
            Cow::Owned(value.to_lowercase())
        } else {
            Cow::Borrowed(value)
        }
    }

    fn enter(&mut self, value: &str, row: u32) {
        let key = self.folded(value);
        match self.rows.get_mut(key.as_ref()) {
            None => {
                self.rows.insert(key.into(), Matches::One(row));
            }
            Some(Matches::Many(rows)) => rows.push(row),
            Some(one) => {
                if let Matches::One(first) = *one {
                    *one = Matches::Many(vec![first, row]);
                }
            }
        }
    }

    fn leave(&mut self, value: &str, row: u32) {
        let key = self.folded(value);
        match self.rows.get_mut(key.as_ref()) {
            Some(Matches::One(_)) => {
                self.rows.remove(key.as_ref());
            }
            Some(Matches::Many(rows)) => {
                rows.retain(|known| *known != row);
                if let [last] = rows[..] {
                    self.rows.insert(key.into(), Matches::One(last));
                }
            }
            None => {}
        }
    }
}

fn slot(field: &Field, width: &mut usize) -> Slot {
    match field.name.as_str() {
        "Id" => return Slot::Id,
        "IsDeleted" => return Slot::Deleted,
        "CreatedDate" => return Slot::Created,
        "LastModifiedDate" | "SystemModstamp" => return Slot::Modified,
        _ if field.auto_number => return Slot::Number,
        _ => {}
    }
    let at = *width;
    *width += 1;
    if field.name == "OwnerId" { Slot::Owner } else { Slot::Cell(at) }
}

fn place(row: u32) -> usize {
    usize::try_from(row).expect("row numbers fit the address space")
}

fn push_cell(packed: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else { return packed.push(NULL) };
    match u8::try_from(value.len()) {
        Ok(length) if length < LONG => packed.push(length),
        _ => {
            packed.push(LONG);
            let length = u32::try_from(value.len()).expect("cells are far smaller than four gigabytes");
            packed.extend_from_slice(&length.to_le_bytes());
        }
    }
    packed.extend_from_slice(value.as_bytes());
}

fn cell(cells: &[u8], at: usize) -> Option<&str> {
    Cells(cells).nth(at).flatten()
}

/// Walks over packed cells.
struct Cells<'a>(&'a [u8]);

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.0.split_first()?;
        let (length, rest) = match *head {
            NULL => {
                self.0 = rest;
                return Some(None);
            }
            LONG => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                (usize::try_from(u32::from_le_bytes(*length)).ok()?, rest)
            }
            length => (usize::from(length), rest),
        };
        let (text, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Schema;
    use super::*;

    #[test]
    fn cells_of_every_length_come_back() {
        let long = "x".repeat(70_000);
        let exact = "y".repeat(254);
        let values = [None, Some(""), Some("a"), Some(exact.as_str()), Some(long.as_str()), None, Some("é")];
        let mut packed = Vec::new();
        values.iter().for_each(|value| push_cell(&mut packed, *value));
        assert_eq!(Cells(&packed).collect::<Vec<_>>(), values);
    }

    #[test]
    fn indexes_follow_every_change() {
        let schema = Schema::standard();
        let object = &schema.objects[schema.object("Account").unwrap()];
        let field = object.field("Customer_Key__c").unwrap();
        let mut table = Table::new(object);
        let row = table.insert(&[(field, Some("Key-1".to_owned()))], 0);
        let other = table.insert(&[(field, Some("KEY-1".to_owned()))], 0);
        assert_eq!(table.find(field, "key-1"), [row, other]);
        table.update(row, &[(field, Some("k2".to_owned()))], 1);
        assert_eq!((table.find(field, "key-1"), table.find(field, "K2")), (vec![other], vec![row]));
        table.delete(other, 2);
        assert_eq!(table.find(field, "key-1"), Vec::<u32>::new());
        assert_eq!(table.row_of(&table.id(row)), Some(row));
    }
}
