//! Rows that are held: refused, and not sent again until they change or a person releases them.
//!
//! [`Releases`] says which of them go again. [`Listing`] and [`Explanation`] are what a person reads of them: the
//! refused entries of the baseline, and beside them the rows that Backhaul itself refused in the last run, which it
//! finds anew each time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    io::Read,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Failure, RunId, SyncName,
    document::{Collected, HeldFor, Mapped, Release, Sample, Which},
    map::SAMPLES,
    records::Csv,
    report::{Page, clean, thousands},
    segment::{Entry, Refused},
    taxonomy,
};

/// What persons have released, taken together.
#[derive(Clone, Default)]
pub struct Releases {
    all: bool,
    codes: BTreeSet<String>,
    keys: BTreeSet<String>,
}

impl Releases {
    /// Most keys of one release: it is copied into a document that every stage reads.
    pub const MOST_KEYS: usize = 1000;

    /// What any of these releases names.
    #[must_use]
    pub fn of(releases: &[Release]) -> Self {
        let mut taken = Self::default();
        for release in releases {
            match &release.rows {
                Which::All => taken.all = true,
                Which::Codes(codes) => taken.codes.extend(codes.iter().cloned()),
                Which::Keys(keys) => taken.keys.extend(keys.iter().cloned()),
            }
        }
        taken
    }

    /// Whether a refused row goes again: by these releases, or by one that no run has learnt the answer to yet.
    #[must_use]
    pub fn lets_go(&self, key: &str, refused: &Refused<'_>) -> bool {
        refused.released || self.all || self.codes.contains(refused.code) || self.keys.contains(key)
    }
}

/// The held rows of a run, for its report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRows {
    /// Held in this run, removals among them, by the code they were refused with.
    pub codes: BTreeMap<String, HeldFor>,
    /// Rejected in this run, and held from now on.
    pub from_now: u64,
    /// Refused before as they are, and released: they are among those sent.
    pub released: u64,
}

impl HeldRows {
    pub(crate) fn new<'a>(totals: &Mapped, jobs: impl Iterator<Item = &'a Collected>) -> Self {
        let from_now = jobs.map(|job| job.held).sum();
        Self { codes: totals.held_for.clone(), from_now, released: totals.released }
    }

    pub(crate) fn lines(&self, sync: &SyncName, page: &mut Page) {
        if *self == Self::default() {
            return;
        }
        page.title("HELD: NOT SENT AGAIN UNTIL THEY CHANGE, OR ARE RELEASED");
        page.held_codes(&self.codes);
        for (rows, what) in [
            (self.from_now, "rejected in this run, and held from now on"),
            (self.released, "refused before and released: they go again"),
        ] {
            if rows > 0 {
                page.count(rows, what);
            }
        }
        page.wrapped("  ", "Which they are, and how to release them:");
        page.line(&format!("    backhaul held {sync}"));
    }
}

/// The rows of a last run that Backhaul itself refused.
#[derive(Clone, Default)]
pub struct Invalid {
    /// How many, by code.
    pub codes: BTreeMap<String, u64>,
    /// A few of them.
    pub rows: Vec<Sample>,
}

impl Invalid {
    /// Reads a file `invalid-*.csv` as Map writes it, and keeps the rows that are `wanted`, up to `most` in all.
    ///
    /// # Errors
    /// Those of the stream; [`crate::Class::Bug`] when it is no such file.
    pub fn read(
        &mut self,
        mut input: impl Read,
        most: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(), Failure> {
        let mut csv = Csv::new("invalid rows", &mut input);
        if !csv.header()? {
            return Ok(());
        }
        while self.rows.len() < most && csv.next(usize::MAX)? {
            if csv.len() != 4 {
                return Err(Failure::bug("a listing of `invalid` rows has other columns than it should"));
            }
            let cell = |number: usize| csv.cell(number).into_owned();
            let named = |text: String| (!text.is_empty()).then_some(text);
            if wanted(&csv.cell(0)) {
                let (key, code, field, reason) = (named(cell(0)), cell(1), named(cell(2)), cell(3));
                self.rows.push(Sample { key, code, field, reason });
            }
        }
        Ok(())
    }
}

/// The held rows of a sync, newest first. Memory holds as many as are shown, and one count for each code.
///
/// There is no `Debug`: a key may be personal.
pub struct Listing {
    most: usize,
    waiting: Releases,
    rows: BTreeSet<Row>,
    codes: BTreeMap<String, HeldFor>,
    going: u64,
}

/// In the order in which they are shown.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    first: Reverse<Option<Timestamp>>,
    key: String,
    code: String,
    fields: String,
    tries: u32,
    goes: bool,
}

/// What a listing stands beside.
pub struct Beside<'a> {
    /// The sync.
    pub sync: &'a SyncName,
    /// The run that committed last; none before the first.
    pub run: Option<&'a RunId>,
    /// What Backhaul refused in it; none when its documents are gone.
    pub invalid: Option<&'a Invalid>,
    /// The releases that no run has carried out yet.
    pub waiting: &'a [Release],
}

impl Listing {
    /// A listing of at most so many rows. The releases wait for the next run.
    #[must_use]
    pub fn new(most: usize, waiting: &[Release]) -> Self {
        let waiting = Releases::of(waiting);
        Self { most, waiting, rows: BTreeSet::new(), codes: BTreeMap::new(), going: 0 }
    }

    /// Takes an entry of the baseline in.
    pub fn add(&mut self, entry: &Entry<'_>) {
        let Some(refused) = &entry.refused else { return };
        let Refused { code, fields, first, tries, .. } = *refused;
        match self.codes.get_mut(code) {
            Some(held) => held.add(HeldFor { rows: 1, first }),
            None => drop(self.codes.insert(code.to_owned(), HeldFor { rows: 1, first })),
        }
        let goes = self.waiting.lets_go(entry.key, refused);
        self.going += u64::from(goes);
        let first = Reverse(first);
        let last = self.rows.last().map(|row| (row.first, row.key.as_str()));
        if self.rows.len() >= self.most && last.is_none_or(|last| (first, entry.key) > last) {
            return;
        }
        let (key, code, fields) = (entry.key.to_owned(), code.to_owned(), fields.to_owned());
        self.rows.insert(Row { first, key, code, fields, tries, goes });
        if self.rows.len() > self.most {
            self.rows.pop_last();
        }
    }

    /// How many rows are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.codes.values().map(|held| held.rows).sum()
    }

    /// The page that a person reads, no line wider than 88 columns but for keys.
    #[must_use]
    pub fn to_text(&self, beside: &Beside<'_>) -> String {
        let mut page = Page::default();
        let held = match self.held() {
            0 => "no row is held".to_owned(),
            1 => "1 row is held".to_owned(),
            rows => format!("{} rows are held", thousands(rows)),
        };
        page.line(&format!("HELD  {}: {held}", beside.sync));
        match beside.run {
            Some(run) => page.line(&format!("as of run {run}")),
            None => page.line("no run has committed yet"),
        }
        self.reasons(&mut page);
        self.newest(&mut page);
        self.going(beside, &mut page);
        invalid(beside, &mut page);
        self.what_next(beside, &mut page);
        page.0
    }

    fn reasons(&self, page: &mut Page) {
        if self.codes.is_empty() {
            return;
        }
        page.title("WHAT SALESFORCE SAID");
        page.held_codes(&self.codes);
    }

    fn newest(&self, page: &mut Page) {
        if self.rows.is_empty() {
            return;
        }
        page.title("ROWS, NEWEST FIRST");
        let mut rows = vec![["key", "code", "fields", "first refused", "tries", ""].map(str::to_owned)];
        rows.extend(self.rows.iter().map(|row| {
            let fields = if row.fields.is_empty() { "-".to_owned() } else { clean(&row.fields, 30) };
            let goes = if row.goes { "released" } else { "" };
            let tries = thousands(row.tries.into());
            [clean(&row.key, 255), clean(&row.code, 40), fields, when(row.first.0), tries, goes.to_owned()]
        }));
        page.table(&rows);
        let more = self.held() - self.rows.len() as u64;
        if more > 0 {
            page.line(&format!("  … and {} more; --limit shows more of them", thousands(more)));
        }
    }

    fn going(&self, beside: &Beside<'_>, page: &mut Page) {
        if self.going == 0 && beside.waiting.is_empty() {
            return;
        }
        page.title("RELEASED");
        if self.going > 0 {
            let rows = counted(self.going, "of these rows goes", "of these rows go");
            page.wrapped("  ", &format!("{rows} again with the next run."));
        }
        for release in beside.waiting {
            let by = clean(&release.by, 60);
            page.wrapped("  ", &format!("{}: {}, by {by}.", when(Some(release.at)), which(&release.rows)));
        }
    }

    fn what_next(&self, beside: &Beside<'_>, page: &mut Page) {
        if self.held() == 0 {
            return;
        }
        let sync = beside.sync;
        page.title("WHAT TO DO");
        page.wrapped(
            "  ",
            "A held row is sent again by itself as soon as its content changes in the model, or by a new mapping. \
             When the org was mended instead, release it: it goes again as it is.",
        );
        page.line(&format!("    backhaul held {sync} <key>"));
        page.line(&format!("    backhaul held {sync} --release --key <key>   or --code <code>, or --all"));
    }
}

/// The rows that Backhaul refused: nothing keeps them back but themselves.
fn invalid(beside: &Beside<'_>, page: &mut Page) {
    let Some(Invalid { codes, rows }) = beside.invalid else {
        if beside.run.is_some() {
            page.title("INVALID: REFUSED BY BACKHAUL");
            page.wrapped("  ", "The documents of that run are not in this bucket; the next run tells again.");
        }
        return;
    };
    let all: u64 = codes.values().sum();
    if all == 0 {
        return;
    }
    page.title("INVALID: REFUSED BY BACKHAUL, NEVER SENT");
    for (code, rows) in codes {
        page.count(*rows, &clean(code, 56));
    }
    let mut table = vec![["key", "code", "reason"].map(str::to_owned)];
    let cell = |row: &Sample| [shown_key(row), clean(&row.code, 24), clean(&row.reason, 120)];
    table.extend(rows.iter().map(cell));
    page.table(&table);
    if all > rows.len() as u64 {
        let more = thousands(all - rows.len() as u64);
        page.line(&format!("  … and {more} more in mapped/<chunk>/invalid-*.csv of the run"));
    }
    page.wrapped(
        "  ",
        "Each run finds them anew and a release does nothing for them: change the value, or the mapping.",
    );
}

/// What is known of one key.
pub struct Explanation<'a> {
    /// The sync.
    pub sync: &'a SyncName,
    /// The key.
    pub key: &'a str,
    /// What the baseline says of it, if anything.
    pub entry: Option<Entry<'a>>,
    /// Where the last answer of Salesforce is, if its run is still kept.
    pub answer: Option<&'a str>,
    /// What Backhaul refused in the last run.
    pub invalid: &'a [Sample],
    /// The releases that no run has carried out yet.
    pub waiting: &'a [Release],
}

impl Explanation<'_> {
    /// The page that a person reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = Page::default();
        let refused = self.entry.and_then(|entry| entry.refused);
        let word = match (refused, self.invalid.is_empty()) {
            (Some(_), _) => "HELD",
            (None, false) => "INVALID",
            (None, true) => "NOT HELD",
        };
        page.line(&format!("{word}  {}, key {}", self.sync, clean(self.key, 255)));
        if let Some(refused) = refused {
            self.refused(&refused, &mut page);
        }
        self.invalid(&mut page);
        if refused.is_none() && self.invalid.is_empty() {
            page.wrapped("", self.not_held());
        }
        page.0
    }

    fn not_held(&self) -> &'static str {
        match self.entry {
            Some(Entry { accepted: Some(_), .. }) => {
                "Salesforce has accepted the row with this key, and has refused nothing of it since."
            }
            _ => "The baseline knows no row with this key. Keys are compared letter by letter.",
        }
    }

    fn refused(&self, refused: &Refused<'_>, page: &mut Page) {
        let Refused { code, fields, first, last, tries, .. } = *refused;
        let of = if fields.is_empty() { String::new() } else { format!(" for {}", clean(fields, 400)) };
        page.wrapped(
            "",
            &format!("Salesforce refused it with {}{of}: {}.", clean(code, 64), taxonomy::sentence(code)),
        );
        page.line("");
        page.fact("first refused", &by_run(first));
        page.fact("last refused", &by_run(last));
        page.fact("tries", &thousands(tries.into()));
        let accepted = self.entry.is_some_and(|entry| entry.accepted.is_some());
        let id = self.entry.and_then(|entry| entry.id).map(|id| format!(" ({})", clean(id, 18)));
        let there = match accepted {
            true => format!("has the content it accepted before{}", id.unwrap_or_default()),
            false => "has accepted nothing with this key".to_owned(),
        };
        page.fact("Salesforce", &there);
        let gone = "not in this bucket; the documents of a run are kept for a time";
        page.fact("its answer", self.answer.unwrap_or(gone));
        page.title("WHAT TO DO");
        if Releases::of(self.waiting).lets_go(self.key, refused) {
            page.wrapped("  ", "It is released: the next run sends it again, whatever it holds then.");
            return;
        }
        page.wrapped(
            "  ",
            "Change the row in the model, or the mapping: the next run then sends it by itself.",
        );
        page.wrapped("  ", "If the org was mended instead, release it, and it goes again as it is:");
        page.line(&format!("    {}", release_command(self.sync, self.key)));
    }

    fn invalid(&self, page: &mut Page) {
        if self.invalid.is_empty() {
            return;
        }
        page.title("REFUSED BY BACKHAUL IN THE LAST RUN, AND NOT SENT");
        for row in self.invalid.iter().take(SAMPLES) {
            page.wrapped_after(&format!("  {}  ", clean(&row.code, 24)), &clean(&row.reason, 1000));
        }
        page.wrapped("  ", "A release does nothing for it: change the value, or the mapping.");
    }
}

/// What a release does, for the person who asked for it.
pub struct Released<'a> {
    /// The sync.
    pub sync: &'a SyncName,
    /// What was asked for.
    pub release: &'a Release,
    /// How many held rows it names.
    pub held: u64,
    /// Those of its keys that are held, if it names keys.
    pub found: &'a BTreeSet<String>,
    /// What Backhaul refused in the last run: if keys are named, the rows with these.
    pub invalid: &'a Invalid,
    /// Where it was written; nowhere when no row is held.
    pub place: Option<&'a str>,
}

impl Released<'_> {
    /// The page that a person reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = Page::default();
        let sync = self.sync;
        match self.place {
            Some(_) => {
                let rows = counted(self.held, "held row goes", "held rows go");
                page.line(&format!("RELEASED  {sync}: {rows} again with the next run that begins"));
            }
            None => page.line(&format!("NOTHING TO RELEASE  {sync}: no row is held that this names")),
        }
        self.not_held(&mut page);
        self.refused_by_us(&mut page);
        if let Some(place) = self.place {
            page.wrapped(
                "  ",
                "They are sent as they are then. What Salesforce refuses again is held again, with one more try. A run \
                 that is going already leaves them to the next.",
            );
            page.line(&format!("  by {}, in {place}", clean(&self.release.by, 60)));
        }
        page.0
    }

    fn not_held(&self, page: &mut Page) {
        let Which::Keys(keys) = &self.release.rows else { return };
        let missing: Vec<_> = keys.difference(self.found).map(|key| clean(key, 255)).collect();
        if !missing.is_empty() {
            let shown = missing.iter().take(SAMPLES).cloned().collect::<Vec<_>>().join(", ");
            let more = if missing.len() > SAMPLES { ", …" } else { "" };
            page.wrapped("  ", &format!("Not held: {shown}{more}."));
        }
    }

    /// A release does nothing for what is not sent at all.
    fn refused_by_us(&self, page: &mut Page) {
        let Invalid { codes, rows } = self.invalid;
        let rows: u64 = match &self.release.rows {
            Which::All => codes.values().sum(),
            Which::Codes(wanted) => {
                codes.iter().filter(|(code, _)| wanted.contains(*code)).map(|(_, n)| n).sum()
            }
            Which::Keys(_) => rows.len() as u64,
        };
        if rows > 0 {
            let were = counted(rows, "row was", "rows were");
            page.wrapped(
                "  ",
                &format!(
                    "{were} refused by Backhaul in the last run. A release does nothing there: change the value, or \
                     the mapping."
                ),
            );
        }
    }
}

/// The command that releases one row, as a shell reads it.
fn release_command(sync: &SyncName, key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:@/+-".contains(c);
    let key = match key {
        "" => "''".to_owned(),
        key if key.chars().all(plain) => key.to_owned(),
        key => format!("'{}'", clean(key, 255).replace('\'', r"'\''")),
    };
    let joint = if key.starts_with('-') { "=" } else { " " };
    format!("backhaul held {sync} --release --key{joint}{key}")
}

/// What a release was for, in words.
#[must_use]
pub fn which(rows: &Which) -> String {
    match rows {
        Which::All => "all rows".to_owned(),
        Which::Codes(codes) => {
            let codes: Vec<_> = codes.iter().map(|code| clean(code, 64)).collect();
            format!("rows refused with {}", codes.join(", "))
        }
        Which::Keys(keys) => counted(keys.len() as u64, "row by its key", "rows by their keys"),
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

fn shown_key(row: &Sample) -> String {
    row.key.as_deref().map_or_else(|| "(no key)".to_owned(), |key| clean(key, 255))
}

/// An instant to the minute.
pub(crate) fn when(instant: Option<Timestamp>) -> String {
    instant.map_or_else(|| "unknown".to_owned(), |instant| instant.strftime("%Y-%m-%d %H:%M").to_string())
}

/// Since when something lasts.
fn since(first: Option<Timestamp>) -> String {
    first.map_or_else(|| "it is not known when".to_owned(), |_| when(first))
}

/// Runs are named by their instant.
fn by_run(instant: Option<Timestamp>) -> String {
    match instant {
        Some(at) => format!("{}, by run {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"), RunId::at(at)),
        None => "unknown: before it was noted".to_owned(),
    }
}

impl Page {
    /// How many rows are held, by code, most rows first.
    fn held_codes(&mut self, codes: &BTreeMap<String, HeldFor>) {
        let mut codes: Vec<_> = codes.iter().collect();
        codes.sort_by_key(|(_, held)| Reverse(held.rows));
        for (code, HeldFor { rows, first }) in codes.iter().take(REASONS) {
            self.count(*rows, &format!("{}, since {}", clean(code, 40), since(*first)));
            self.wrapped("               ", taxonomy::sentence(code));
        }
        if codes.len() > REASONS {
            self.line(&format!("  … and {} more codes", codes.len() - REASONS));
        }
    }

    /// A line of a list of facts.
    fn fact(&mut self, what: &str, is: &str) {
        self.line(&format!("{what:>17}  {is}"));
    }

    /// Rows under their headings, each column as wide as it has to be.
    fn table<const N: usize>(&mut self, rows: &[[String; N]]) {
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            self.line(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
        }
    }
}

/// Most codes in a listing.
const REASONS: usize = 20;
