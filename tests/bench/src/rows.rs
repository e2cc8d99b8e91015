//! Rows such as a warehouse holds of its customers, the same ones every time: 20 columns, about 460 bytes of JSON.
//!
//! A row is a function of its number and of the version of the data. In the later version 0.3 % of the rows are
//! gone, 2 % have another content and 0.5 % are new.

use std::{
    io::{self, Write},
    ops::Range,
};

use engine::document::Scan;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Which of the two states of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// As it was first loaded.
    First,
    /// As it was afterwards.
    Later,
}

/// What distinguishes the later version from the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Changes {
    /// Keys that the first version does not have.
    pub added: u64,
    /// Keys with another content.
    pub changed: u64,
    /// Keys that are gone.
    pub removed: u64,
}

/// The columns in their order: name, wire type, digits after the point, field type of the object.
pub const COLUMNS: [(&str, &str, Option<u32>, &str); 20] = [
    ("CUSTOMER_KEY", "text", None, "key"),
    ("ACCOUNT_NUMBER", "fixed", Some(0), "string"),
    ("UUID", "text", None, "string"),
    ("NAME", "text", None, "string"),
    ("EMAIL", "text", None, "string"),
    ("PHONE", "text", None, "string"),
    ("STREET", "text", None, "string"),
    ("CITY", "text", None, "string"),
    ("COUNTRY", "text", None, "string"),
    ("SEGMENT", "text", None, "string"),
    ("STATUS", "text", None, "picklist"),
    ("REVENUE", "fixed", Some(2), "double"),
    ("DISCOUNT", "fixed", Some(4), "double"),
    ("SCORE", "real", None, "double"),
    ("ACTIVE", "boolean", None, "boolean"),
    ("BIRTHDAY", "date", None, "date"),
    ("CREATED_AT", "timestamp_ntz", Some(9), "datetime"),
    ("UPDATED_AT", "timestamp_tz", Some(9), "datetime"),
    ("NOTES", "text", None, "textarea"),
    ("ATTRIBUTES", "json", None, "textarea"),
];

/// The columns whose NULL is left as it is; that of any other column clears the field.
pub const KEPT_WHEN_NULL: [&str; 2] = ["NOTES", "SEGMENT"];

/// The values of STATUS.
pub const STATUSES: [&str; 5] = ["active", "prospect", "churned", "trial", "suspended"];

const FIRST_NAMES: [&str; 12] =
    ["Anna", "Łukasz", "José", "Zoë", "Björn", "美咲", "Olga", "Siobhán", "Mehmet", "Nguyễn", "Carla", "Tom"];
const LAST_NAMES: [&str; 12] = [
    "Müller",
    "O'Brien",
    "García",
    "Kowalski",
    "Smith",
    "佐藤",
    "Ivanova",
    "Dąbrowski",
    "Jensen",
    "Silva",
    "Öztürk",
    "Brown",
];
const STREETS: [&str; 6] =
    ["Hauptstraße", "Long Street", "Rue de la Paix", "Via Roma", "Ringlaan", "Market Square"];
const CITIES: [&str; 8] =
    ["Berlin", "São Paulo", "Kraków", "London", "New York", "Zürich", "København", "Lyon"];
const COUNTRIES: [&str; 6] = ["DE", "BR", "PL", "GB", "US", "CH"];
const SEGMENTS: [&str; 4] = ["enterprise", "mid-market", "small business", "consumer"];
const WORDS: [&str; 10] = [
    "asked for an offer",
    "called back",
    "is happy",
    "wants a discount, soon",
    "said \\\"maybe\\\"",
    "renewal in March",
    "contract signed",
    "moved\\nto another office",
    "prefers e-mail",
    "complained",
];

/// How far the keys of two rows are apart: there is room for new keys in between.
const STRIDE: u64 = 1000;

/// The numbers drawn for one row: each call gives another.
struct Draws {
    row: u64,
    seed: u64,
}

impl Draws {
    fn next(&mut self) -> u64 {
        self.seed += 1;
        xxh3_64_with_seed(&self.row.to_le_bytes(), self.seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[(self.next() % of.len() as u64) as usize]
    }
}

/// What becomes of a row of the first version in the later one.
struct Fate {
    gone: bool,
    changed: bool,
    /// A new row follows it.
    followed: bool,
}

fn fate(row: u64) -> Fate {
    let drawn = xxh3_64_with_seed(&row.to_le_bytes(), 0);
    let (own, next) = (drawn % 1000, (drawn >> 32) % 1000);
    Fate { gone: own < 3, changed: (3..23).contains(&own), followed: next < 5 }
}

/// Writes the rows of these numbers, as they are in that version, as one partition in key order. Says what is in it, and
/// how it differs from the first version.
///
/// # Errors
/// Those of the output.
pub fn write(out: &mut impl Write, version: Version, numbers: Range<u64>) -> io::Result<(Scan, Changes)> {
    let (mut scan, mut changes, mut line) = (Scan::default(), Changes::default(), Vec::new());
    let mut row = |key: u64, number: u64, content: u64| {
        let key = format!("C{key:014}");
        line.clear();
        line.extend_from_slice(if scan.rows == 0 { b"[\n" } else { b",\n" });
        cells(&mut line, &key, number, content)?;
        scan.rows += 1;
        scan.first_key.get_or_insert_with(|| key.clone());
        scan.last_key = Some(key);
        out.write_all(&line)
    };
    for number in numbers {
        let key = number * STRIDE + xxh3_64_with_seed(&number.to_le_bytes(), 99) % (STRIDE - 1);
        if version == Version::First {
            row(key, number, 1)?;
            continue;
        }
        let fate = fate(number);
        changes.removed += u64::from(fate.gone);
        changes.changed += u64::from(fate.changed);
        changes.added += u64::from(fate.followed);
        if !fate.gone {
            row(key, number, if fate.changed { 2 } else { 1 })?;
        }
        if fate.followed {
            row(key + 1, number, 3)?;
        }
    }
    out.write_all(if scan.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
    Ok((scan, changes))
}

/// Writes the row of a number. Rows of different content differ in a few columns, as rows do that were updated.
fn cells(out: &mut Vec<u8>, key: &str, number: u64, content: u64) -> io::Result<()> {
    let mut draw = Draws { row: number, seed: if content == 3 { 5000 } else { 1000 } };
    let (first, last) = (draw.one(&FIRST_NAMES), draw.one(&LAST_NAMES));
    write!(out, "[\"{key}\",\"9{:09}{:010}\"", draw.below(1_000_000_000), draw.below(10_000_000_000))?;
    let (a, b) = (draw.next(), draw.next());
    write!(out, ",\"{:08x}-{:04x}-4{:03x}-a{:03x}-", a >> 32, a >> 16 & 0xffff, a & 0xfff, b >> 52)?;
    write!(out, "{:012x}\"", b & 0xffff_ffff_ffff)?;
    match draw.below(40) {
        0 => write!(out, ",\"{last}, {first} \\\"{}\\\"\"", draw.one(&CITIES))?,
        1 => write!(out, ",\"{first}\\n{last} & Co.\"")?,
        _ => write!(out, ",\"{first} {last}\"")?,
    }
    write!(out, ",\"{:x}.{number}@mail.example.com\"", draw.below(1 << 32))?;
    nullable(
        out,
        draw.below(5) == 0,
        |out, draw| write!(out, "+49 30 {:07}", draw.below(9_999_999)),
        &mut draw,
    )?;
    write!(out, ",\"{} {}, {}\"", draw.one(&STREETS), draw.below(200), draw.below(90) + 10)?;
    write!(out, ",\"{}\"", draw.one(&CITIES))?;
    nullable(out, draw.below(8) == 0, |out, draw| write!(out, "{}", draw.one(&COUNTRIES)), &mut draw)?;
    nullable(out, draw.below(4) == 0, |out, draw| write!(out, "{}", draw.one(&SEGMENTS)), &mut draw)?;
    write!(out, ",\"{}\"", draw.one(&STATUSES))?;
    let update = if content == 2 { xxh3_64_with_seed(&number.to_le_bytes(), 77) % 1_000_000 } else { 0 };
    write!(out, ",\"{}.{:02}\"", draw.below(1_000_000) + update + 1, draw.below(100))?;
    write!(out, ",\"0.{:04}\"", draw.below(10_000))?;
    write!(out, ",\"{}.{:03}\"", draw.below(100), draw.below(1000))?;
    write!(out, ",\"{}\"", if draw.below(10) < 8 { "true" } else { "false" })?;
    nullable(out, draw.below(10) == 0, |out, draw| write!(out, "{}", draw.below(20_000)), &mut draw)?;
    let created = 1_400_000_000 + draw.below(300_000_000);
    write!(out, ",\"{created}.{:03}000000\"", draw.below(1000))?;
    let updated = created + 1000 + draw.below(10_000_000) + update;
    write!(
        out,
        ",\"{updated}.{:03}000000 {}\"",
        draw.below(1000),
        [1440, 1500, 1560][draw.below(3) as usize]
    )?;
    let words = match draw.below(100) {
        0 => 30,
        1..10 => 4,
        10..30 => 1,
        _ => 0,
    };
    nullable(out, words == 0, |out, draw| notes(out, words, draw), &mut draw)?;
    write!(out, ",\"{{\\\"tier\\\":\\\"{}\\\",", ["gold", "silver", "bronze"][draw.below(3) as usize])?;
    write!(out, "\\\"channel\\\":\\\"{}\\\",", ["web", "store", "partner"][draw.below(3) as usize])?;
    write!(out, "\\\"opt_in\\\":{},\\\"visits\\\":{},", draw.below(2) == 0, draw.below(500))?;
    write!(out, "\\\"ref\\\":\\\"{:010x}\\\",", draw.below(1 << 40))?;
    write!(out, "\\\"tags\\\":[\\\"{}\\\",\\\"b2b\\\"]}}\"]", ["new", "vip", "risk"][draw.below(3) as usize])
}

fn nullable(
    out: &mut Vec<u8>,
    is_null: bool,
    write: impl FnOnce(&mut Vec<u8>, &mut Draws) -> io::Result<()>,
    draw: &mut Draws,
) -> io::Result<()> {
    if is_null {
        return out.write_all(b",null");
    }
    out.write_all(b",\"")?;
    write(out, draw)?;
    out.write_all(b"\"")
}

fn notes(out: &mut Vec<u8>, words: u64, draw: &mut Draws) -> io::Result<()> {
    for word in 0..words {
        let space = if word == 0 { "" } else { "; " };
        write!(out, "{space}{}", draw.one(&WORDS))?;
    }
    Ok(())
}
