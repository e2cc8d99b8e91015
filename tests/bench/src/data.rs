//! The data of a benchmark, kept in `target/bench/<rows>`: it is made once.
//!
//! | file | holds |
//! | --- | --- |
//! | `first/*.json.gz`, `later/*.json.gz` | the partitions of the two versions |
//! | `first.json`, `later.json` | what is in each partition, as Extract finds it out |
//! | `changes.json` | what distinguishes the versions |
//! | `baseline/*.zst`, `baseline.json` | what is known after the first version was accepted |
//! | `bare/*.zst` | the same without Salesforce ids |
//! | `sent/*.zst`, `jobs.json` | the keys of the first load, and its jobs |
//! | `results/<job>-{success,failed}.csv` | what Salesforce says of each job |
//! | `pieces/*`, `pieces.json` | what the later version is mapped to, and the names of its files by chunk |
//! | `accepted.json` | how many rows Salesforce accepts |
//! | `sent.csv` | key and fingerprint of each row of the first load, for those who read no segments |

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use engine::{
    Failure,
    config::Sync,
    contract::{Column, Objects},
    document::{Chunk, Mapped, PlannedJob, Scan, SegmentRef},
    held::Releases,
    map::{Piece, map_chunk},
    mapping::Mapping,
    segment::{Entry, Reader, Writer},
};
use flate2::{Compression, write::GzEncoder};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::rows::{self, COLUMNS, Changes, KEPT_WHEN_NULL, STATUSES, Version};

/// The key field of the destination.
pub const KEY_FIELD: &str = "Customer_Key__c";

/// Most rows of a chunk, as Extract makes them.
const CHUNK_ROWS: u64 = 200_000;

/// The folder of the benchmark's files.
pub fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench")
}

/// The files of one size.
#[derive(Clone)]
pub struct Data {
    /// Rows of the first version.
    pub rows: u64,
    folder: PathBuf,
}

impl Data {
    /// The files of so many rows, which need not be there yet.
    pub fn of(rows: u64) -> Self {
        Self { rows, folder: home().join(rows.to_string()) }
    }

    /// The files have been made.
    pub fn is_complete(&self) -> bool {
        self.path("complete").exists() && self.path("pieces.json").exists()
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Opens a file as the engine reads its streams.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, name: &str) -> Result<File, Failure> {
        File::open(self.path(name)).map_err(|error| Failure::io(name, &error))
    }

    /// Reads a JSON document.
    ///
    /// # Errors
    /// When it is not there, or not of this shape.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<T> {
        Ok(serde_json::from_slice(&fs::read(self.path(name))?)?)
    }

    /// The names of the partitions of a version, in key order.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn partitions(&self, version: Version) -> io::Result<Vec<String>> {
        let scans: Vec<Scan> = self.read(&scans_name(version))?;
        Ok((0..scans.len()).map(|number| partition_name(version, number)).collect())
    }

    /// The chunks of a version, as the manifest of a run has them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn chunks(&self, version: Version) -> io::Result<Vec<Chunk>> {
        Ok(engine::manifest::manifest(&self.read::<Vec<Scan>>(&scans_name(version))?, CHUNK_ROWS))
    }

    /// Maps one chunk just as the function `map` does, against these segments of the baseline.
    ///
    /// # Errors
    /// Those of [`map_chunk`].
    pub fn map(
        &self,
        mapping: &Mapping,
        version: Version,
        chunk: &Chunk,
        baseline: &[SegmentRef],
        emit: &mut dyn FnMut(Piece) -> Result<(), Failure>,
    ) -> Result<Mapped, Failure> {
        let partitions =
            chunk.partitions.iter().map(|&number| self.open(&partition_name(version, number as usize)));
        let segments: Vec<&SegmentRef> = baseline.iter().filter(|segment| chunk.overlaps(segment)).collect();
        let baseline = segments.iter().map(|segment| self.open(&segment.object));
        map_chunk(mapping, chunk, partitions, baseline, &Releases::default(), emit)
    }

    /// Makes all files. What was begun before is written anew.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(&self) -> io::Result<()> {
        for folder in ["first", "later", "baseline", "bare", "sent", "results", "pieces"] {
            fs::create_dir_all(self.path(folder))?;
        }
        self.generate(Version::First)?;
        let changes = self.generate(Version::Later)?;
        self.write("changes.json", &changes)?;
        let mapped = self.map_first()?;
        self.baseline(&mapped)?;
        self.pieces()?;
        let jobs = engine::plan::plan(&sync()?, &mapping()?, &mapped).map_err(io::Error::other)?.jobs;
        self.write("jobs.json", &jobs)?;
        self.sent_keys(&mapped)?;
        let mut accepted = 0;
        for (number, job) in jobs.iter().enumerate() {
            accepted += self.results(number, job)?;
        }
        self.write("accepted.json", &accepted)?;
        // Nothing reads them any more, and they are large.
        for fragment in jobs.iter().flat_map(|job| &job.fragments) {
            fs::remove_file(self.path(&sent_name(fragment.chunk, &fragment.file)))?;
        }
        self.write("complete", &true)
    }

    fn write(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        fs::write(self.path(name), serde_json::to_vec(value)?)
    }

    /// Writes the partitions of one version, several at a time; each is a function of its number.
    fn generate(&self, version: Version) -> io::Result<Changes> {
        let ranges = ranges(self.rows);
        let next = AtomicUsize::new(0);
        let work = || -> io::Result<Vec<(usize, Scan, Changes)>> {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(range) = ranges.get(number) else { return Ok(done) };
                let file = File::create(self.path(&partition_name(version, number)))?;
                let packer = GzEncoder::new(BufWriter::new(file), Compression::new(6));
                let mut out = BufWriter::with_capacity(64 << 10, packer);
                let (scan, changes) = rows::write(&mut out, version, range.clone())?;
                out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?.flush()?;
                done.push((number, scan, changes));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut done = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results = workers.into_iter().map(|worker| worker.join());
            results
                .map(|result| result.map_err(|_| io::Error::other("a thread panicked"))?)
                .collect::<io::Result<Vec<_>>>()
        })?
        .concat();
        done.sort_unstable_by_key(|(number, ..)| *number);
        let changes = done.iter().fold(Changes::default(), |sum, (_, _, one)| Changes {
            added: sum.added + one.added,
            changed: sum.changed + one.changed,
            removed: sum.removed + one.removed,
        });
        self.write(&scans_name(version), &done.into_iter().map(|(_, scan, _)| scan).collect::<Vec<_>>())?;
        Ok(changes)
    }

    /// Carries out the first load up to the fragments.
    fn map_first(&self) -> io::Result<Vec<Mapped>> {
        let mapping = mapping()?;
        let mut mapped = Vec::new();
        for chunk in self.chunks(Version::First)? {
            let mut emit = |piece: Piece| {
                let name = sent_name(chunk.chunk, &piece.file);
                fs::write(self.path(&name), &piece.bytes).map_err(|error| Failure::io(&name, &error))
            };
            mapped
                .push(self.map(&mapping, Version::First, &chunk, &[], &mut emit).map_err(io::Error::other)?);
        }
        Ok(mapped)
    }

    /// Maps a chunk of the later version against the baseline, into a folder; the names of its files as well.
    ///
    /// # Errors
    /// Those of [`map_chunk`] and of the files.
    pub fn map_later(
        &self,
        mapping: &Mapping,
        baseline: &[SegmentRef],
        chunk: &Chunk,
        folder: &Path,
    ) -> io::Result<(Mapped, Vec<String>)> {
        let mut names = Vec::new();
        let mut emit = |Piece { file, bytes }: Piece| {
            let name = format!("{:05}-{file}", chunk.chunk);
            let written = fs::write(folder.join(&name), bytes).map_err(|error| Failure::io(&name, &error));
            names.push(name);
            written
        };
        let mapped = self.map(mapping, Version::Later, chunk, baseline, &mut emit);
        Ok((mapped.map_err(io::Error::other)?, names))
    }

    /// Writes what the later version is mapped to.
    fn pieces(&self) -> io::Result<()> {
        let (baseline, folder) = (self.read::<Vec<SegmentRef>>("baseline.json")?, self.path("pieces"));
        let (chunks, mapping) = (self.chunks(Version::Later)?, mapping()?);
        let pieces = chunks.iter().map(|chunk| Ok(self.map_later(&mapping, &baseline, chunk, &folder)?.1));
        self.write("pieces.json", &pieces.collect::<io::Result<Vec<_>>>()?)
    }

    /// Writes the baseline as if Salesforce had accepted everything, with ids and without.
    fn baseline(&self, mapped: &[Mapped]) -> io::Result<()> {
        let (mut segments, mut row) = (Vec::new(), 0);
        for (number, chunk) in mapped.iter().enumerate() {
            let name = format!("baseline/{number:05}.zst");
            let mut full = Writer::new(BufWriter::new(File::create(self.path(&name))?));
            let bare = File::create(self.path(&format!("bare/{number:05}.zst")))?;
            let mut bare = Writer::new(BufWriter::new(bare));
            for fragment in &chunk.fragments {
                let mut sent =
                    Reader::new(File::open(self.path(&sent_name(fragment.chunk, &fragment.sent_file())))?);
                while let Some(entry) = sent.advance().map_err(io::Error::other)? {
                    let id = salesforce_id(row);
                    full.push(&Entry { id: Some(&id), ..entry }).map_err(io::Error::other)?;
                    bare.push(&entry).map_err(io::Error::other)?;
                    row += 1;
                }
            }
            let (mut file, summary) = full.finish().map_err(io::Error::other)?;
            file.flush()?;
            bare.finish().map_err(io::Error::other)?.0.flush()?;
            segments.push(summary.into_ref(name));
        }
        self.write("baseline.json", &segments)
    }

    /// Writes the keys of the first load with their fingerprints as CSV.
    fn sent_keys(&self, mapped: &[Mapped]) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(self.path("sent.csv"))?);
        out.write_all(b"key,fingerprint\n")?;
        for fragment in mapped.iter().flat_map(|chunk| &chunk.fragments) {
            let mut sent =
                Reader::new(File::open(self.path(&sent_name(fragment.chunk, &fragment.sent_file())))?);
            while let Some(entry) = sent.advance().map_err(io::Error::other)? {
                let fingerprint = entry.accepted.map_or(0, |fingerprint| fingerprint.0);
                writeln!(out, "{},{fingerprint:016x}", entry.key)?;
            }
        }
        out.flush()
    }

    /// Writes the result files of a job: the rows in another order, all cells quoted, 1 % of them refused. The number of
    /// the others.
    fn results(&self, number: usize, job: &PlannedJob) -> io::Result<u64> {
        let mut records = Vec::new();
        for fragment in &job.fragments {
            let file = File::open(self.path(&sent_name(fragment.chunk, &fragment.file)))?;
            let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(file);
            for record in rows.byte_records() {
                records.push(record?);
            }
        }
        let quoted = |name: &str| -> io::Result<csv::Writer<File>> {
            let file = File::create(self.path(&format!("results/{number}-{name}.csv")))?;
            Ok(csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(file))
        };
        let (mut success, mut failed) = (quoted("success")?, quoted("failed")?);
        let header: Vec<String> = headers().collect();
        let header = header.iter().map(String::as_str);
        success.write_record(["sf__Id", "sf__Created"].into_iter().chain(header.clone()))?;
        failed.write_record(["sf__Id", "sf__Error"].into_iter().chain(header))?;
        // A prime step visits every row once, in an order that is not the upload's.
        let step = 7_368_787 % records.len().max(1);
        let mut accepted = 0;
        for turn in 0..records.len() {
            let place = turn * step % records.len();
            let record = &records[place];
            let drawn = xxh3_64_with_seed(&place.to_le_bytes(), number as u64) % 100;
            if drawn == 0 {
                let error: &[u8] = b"STRING_TOO_LONG:Name: data value too large:Name --";
                failed.write_byte_record(&[b"".as_slice(), error].into_iter().chain(record).collect())?;
            } else {
                let id = salesforce_id((number * 10_000_000 + turn) as u64);
                accepted += 1;
                success.write_byte_record(&[id.as_bytes(), b"true"].into_iter().chain(record).collect())?;
            }
        }
        success.flush()?;
        failed.flush()?;
        Ok(accepted)
    }
}

/// The name of a partition.
fn partition_name(version: Version, number: usize) -> String {
    format!("{}/{number:05}.json.gz", if version == Version::First { "first" } else { "later" })
}

fn scans_name(version: Version) -> String {
    if version == Version::First { "first.json" } else { "later.json" }.to_owned()
}

/// The name of a piece of the first load.
pub fn sent_name(chunk: u32, file: &str) -> String {
    format!("sent/{chunk:05}-{file}")
}

/// The rows of the partitions: 25,000 to 60,000 each.
fn ranges(rows: u64) -> Vec<std::ops::Range<u64>> {
    let (mut ranges, mut start) = (Vec::new(), 0);
    while start < rows {
        let size = 25_000 + xxh3_64_with_seed(&start.to_le_bytes(), 7) % 35_001;
        ranges.push(start..rows.min(start + size));
        start += size;
    }
    ranges
}

/// An id as Salesforce gives them to rows that follow each other.
fn salesforce_id(row: u64) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = *b"001gL0000000000";
    let mut rest = row;
    for place in id[6..].iter_mut().rev() {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    let checksum = id.chunks(5).map(|group| {
        let bits =
            group.iter().rev().fold(0, |bits, byte| bits << 1 | usize::from(byte.is_ascii_uppercase()));
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[bits])
    });
    id.iter().map(|byte| char::from(*byte)).chain(checksum).collect()
}

/// The field that a column goes to. The order of the fields is that of the columns.
fn field(place: usize) -> String {
    if place == 0 { KEY_FIELD.to_owned() } else { format!("F{place:02}_{}__c", COLUMNS[place].0) }
}

/// The fields, in the order of the CSV.
pub fn headers() -> impl Iterator<Item = String> {
    (0..COLUMNS.len()).map(field)
}

/// The sync: every column to a field of its own.
fn sync() -> io::Result<Sync> {
    let assignments = (1..COLUMNS.len()).map(|place| {
        let column = COLUMNS[place].0;
        let when_null = if KEPT_WHEN_NULL.contains(&column) { "keep" } else { "clear" };
        (field(place), json!({"column": column, "when_null": when_null}))
    });
    let sync = json!({
        "model": {"table": "ANALYTICS.CRM.CUSTOMERS"},
        "key": {"column": COLUMNS[0].0, "field": KEY_FIELD},
        "destination": {"object": "Account"},
        "mapping": assignments.collect::<serde_json::Map<_, _>>(),
    });
    Ok(serde_json::from_value(sync)?)
}

/// The mapping, resolved as a run does it.
///
/// # Errors
/// When the engine does not take the sync.
pub fn mapping() -> io::Result<Mapping> {
    let columns = COLUMNS.map(|(name, kind, scale, _)| json!({"name": name, "kind": kind, "scale": scale}));
    let columns: Vec<Column> = serde_json::from_value(json!(columns))?;
    let fields: Vec<_> = (0..COLUMNS.len()).map(|place| described(place, COLUMNS[place].3)).collect();
    let object = json!({"name": "Account", "createable": true, "updateable": true, "fields": fields});
    let objects: Objects = serde_json::from_value(json!({"Account": object}))?;
    Mapping::resolve(&sync()?, &columns, &objects).map_err(io::Error::other)
}

/// A field as Salesforce describes it.
fn described(place: usize, kind: &str) -> serde_json::Value {
    let values: Vec<_> = STATUSES.iter().map(|value| json!({"value": value, "active": true})).collect();
    let mut described = json!({
        "name": field(place),
        "type": if kind == "key" { "string" } else { kind },
        "createable": true,
        "updateable": true,
        "nillable": true,
    });
    let more = match kind {
        "key" => {
            json!({"length": 255, "externalId": true, "idLookup": true, "unique": true, "caseSensitive": true})
        }
        "textarea" => json!({"length": 32_768}),
        "double" => json!({"precision": 18, "scale": 4}),
        "picklist" => json!({"restrictedPicklist": true, "picklistValues": values}),
        _ => json!({"length": 255}),
    };
    for (name, value) in more.as_object().into_iter().flatten() {
        described[name] = value.clone();
    }
    described
}
