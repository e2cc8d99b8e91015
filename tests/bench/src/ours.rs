//! The work of the functions, by the calls they make, and the floors below it.

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

use engine::{
    Failure, JobRef,
    config::Operation,
    csv::Line,
    document::{Chunk, PlannedJob, SegmentRef},
    fingerprint::Fingerprints,
    held::Releases,
    map::Piece,
    outcome::{self, Further, JoinInput, Output},
    partition::{Rows, WINDOW},
    settle::settle_chunk,
    value::Cells,
};
use flate2::bufread::MultiGzDecoder;
use jiff::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    data::{Data, KEY_FIELD, mapping, sent_name},
    rows::{COLUMNS, Changes, Version},
};

/// Decodes every partition and looks at nothing. The decoder and its buffers are those of `engine::partition`.
///
/// # Errors
/// Those of the files.
pub fn gunzip(data: &Data) -> io::Result<u64> {
    let mut window = vec![0; WINDOW];
    let mut bytes = 0;
    for name in data.partitions(Version::First)? {
        let file = File::open(data.path(&name))?;
        let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file));
        loop {
            match decoder.read(&mut window)? {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    Ok(bytes)
}

/// Reads the rows of the later version and hashes each, without a state: what a comparison costs at least.
///
/// # Errors
/// Those of the files.
pub fn scan(data: &Data) -> io::Result<u64> {
    let fingerprints = Fingerprints::under("scan");
    let (mut line, mut all, mut count) = (Vec::new(), 0, 0);
    for name in data.partitions(Version::Later)? {
        let mut rows = Rows::new(File::open(data.path(&name))?);
        while let Some(row) = rows.next().map_err(io::Error::other)? {
            line.clear();
            for cell in 0..row.len() {
                line.extend_from_slice(row.cell(cell).unwrap_or_default().as_bytes());
            }
            all ^= fingerprints.of(&line).0;
            count += 1;
        }
    }
    std::hint::black_box(all);
    Ok(count)
}

/// Reads the first row of the first partition.
///
/// # Errors
/// Those of the file.
pub fn first_row(data: &Data) -> io::Result<u64> {
    let mapping = mapping()?;
    let name = data.partitions(Version::First)?.swap_remove(0);
    let mut rows = Rows::new(File::open(data.path(&name))?);
    let width = rows.next().map_err(io::Error::other)?.map_or(0, |row| row.len());
    assert_eq!(width, mapping.assignments.len().max(COLUMNS.len()), "the first row has all cells");
    Ok(width as u64)
}

/// Writes the first version as CSV and does nothing else, as the other tools do: no fingerprints, no keys, no baseline.
///
/// # Errors
/// Those of the engine and of the files; the rows have no faults.
pub fn convert(data: &Data, out: &Path) -> io::Result<u64> {
    let mapping = mapping()?;
    let cells: Vec<Cells<'_>> = mapping.assignments.iter().map(Cells::of).collect();
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out)?);
    file.write_all(engine::csv::header(&mapping).as_bytes())?;
    let (mut line, mut count) = (Line::default(), 0);
    for name in data.partitions(Version::First)? {
        let mut rows = Rows::new(File::open(data.path(&name))?);
        while let Some(row) = rows.next().map_err(io::Error::other)? {
            line.clear();
            for cells in &cells {
                if cells.write_short(&row, &mut line).is_none() {
                    cells.write(&row, &mut line).map_err(|fault| io::Error::other(fault.code))?;
                }
            }
            file.write_all(line.row())?;
            file.write_all(b"\n")?;
            count += 1;
        }
    }
    file.flush()?;
    Ok(count)
}

/// Maps the first version against an empty baseline: every row becomes CSV. The pieces go to one file.
///
/// # Errors
/// Those of the engine and of the files.
pub fn map(data: &Data, out: &Path) -> io::Result<u64> {
    let mapping = mapping()?;
    let mut file = File::create(out)?;
    file.write_all(engine::csv::header(&mapping).as_bytes())?;
    let mut keys = 0;
    let mut rows = 0;
    for chunk in data.chunks(Version::First)? {
        let mut emit = |piece: Piece| {
            if piece.file.ends_with(".csv") {
                return file.write_all(&piece.bytes).map_err(|error| Failure::io(&piece.file, &error));
            }
            keys += piece.bytes.len();
            Ok(())
        };
        let mapped = data.map(&mapping, Version::First, &chunk, &[], &mut emit).map_err(io::Error::other)?;
        rows += mapped.sent();
    }
    std::hint::black_box(keys);
    Ok(rows)
}

/// Maps the later version against the baseline: what has changed becomes CSV, which nobody keeps.
///
/// # Errors
/// Those of the engine and of the files.
pub fn pass(data: &Data) -> io::Result<u64> {
    let (mapping, baseline) = (mapping()?, data.read::<Vec<SegmentRef>>("baseline.json")?);
    let mut rows = 0;
    for chunk in data.chunks(Version::Later)? {
        let mut emit = |piece: Piece| {
            std::hint::black_box(piece.bytes);
            Ok(())
        };
        let mapped = data.map(&mapping, Version::Later, &chunk, &baseline, &mut emit);
        rows += mapped.map_err(io::Error::other)?.read;
    }
    Ok(rows)
}

/// Writes the next baseline, as if everything that has changed were accepted.
///
/// # Errors
/// Those of the engine and of the files.
pub fn settle(data: &Data, out: &Path) -> io::Result<u64> {
    let baseline: Vec<SegmentRef> = data.read("baseline.json")?;
    fs::create_dir_all(out)?;
    let mut rows = 0;
    for (chunk, pieces) in
        data.chunks(Version::Later)?.iter().zip(data.read::<Vec<Vec<String>>>("pieces.json")?)
    {
        rows += settle_one(data, &baseline, chunk, &pieces, &data.path("pieces"), out)?;
    }
    Ok(rows)
}

fn settle_one(
    data: &Data,
    baseline: &[SegmentRef],
    chunk: &Chunk,
    pieces: &[String],
    from: &Path,
    out: &Path,
) -> io::Result<u64> {
    let open = |kind: fn(&str) -> bool| {
        let named = pieces.iter().filter(move |piece| kind(piece));
        named.map(|piece| File::open(from.join(piece)).map_err(|error| Failure::io(piece, &error)))
    };
    let known = baseline.iter().filter(|segment| chunk.overlaps(segment));
    let next = File::create(out.join(format!("{:05}-next.zst", chunk.chunk)))?;
    let (removed, sent) =
        (|piece: &str| piece.contains("removed-"), |piece: &str| piece.ends_with(".sent.zst"));
    let known = known.map(|segment| data.open(&segment.object));
    let settled = settle_chunk(chunk, known, open(removed), open(sent), &Releases::default(), next);
    Ok(settled.map_err(io::Error::other)?.1.rows)
}

/// Maps the later version against the baseline, and writes the next one as if everything were accepted.
///
/// # Errors
/// Those of the engine and of the files.
pub fn diff(data: &Data, out: &Path) -> io::Result<Changes> {
    let (mapping, baseline) = (mapping()?, data.read::<Vec<SegmentRef>>("baseline.json")?);
    fs::create_dir_all(out)?;
    let mut changes = Changes::default();
    for chunk in data.chunks(Version::Later)? {
        let (mapped, pieces) = data.map_later(&mapping, &baseline, &chunk, out)?;
        changes.added += mapped.added;
        changes.changed += mapped.changed;
        changes.removed += mapped.removed;
        settle_one(data, &baseline, &chunk, &pieces, out, out)?;
    }
    Ok(changes)
}

/// Joins the results of the first load to what was sent, job by job, and writes what the baseline learns.
///
/// # Errors
/// Those of the engine and of the files.
pub fn join(data: &Data, out: &Path) -> io::Result<u64> {
    let mapping = mapping()?;
    fs::create_dir_all(out)?;
    let mut accepted = 0;
    for (number, job) in (0..).zip(data.read::<Vec<PlannedJob>>("jobs.json")?) {
        let input = JoinInput {
            job: JobRef { wave: 1, job: number },
            operation: Operation::Upsert,
            key: mapping.key.clone(),
            external_id: KEY_FIELD.to_owned(),
            state: "JobComplete".to_owned(),
            removes: false,
            instant: Timestamp::UNIX_EPOCH,
        };
        let sent = job.fragments.into_iter().map(|fragment| {
            let file = data.open(&sent_name(fragment.chunk, &fragment.sent_file()))?;
            Ok((fragment, file))
        });
        let results = |name: &str| File::open(data.path(&format!("results/{number}-{name}.csv")));
        let outcomes = outcome::join(input, sent, results("success")?, results("failed")?, io::empty());
        let mut emit = |piece: Output| {
            let (name, bytes) = match piece {
                Output::Delta { chunk, bytes } => (format!("{number}-{chunk}.zst"), bytes),
                Output::Missing { bytes } => (format!("{number}-missing.csv"), bytes),
                Output::Again { file, bytes } => (format!("{number}-{file}"), bytes),
            };
            fs::write(out.join(&name), bytes).map_err(|error| Failure::io(&name, &error))
        };
        let uploads = std::iter::empty::<Result<File, Failure>>();
        let collected = outcomes.and_then(|outcomes| outcomes.write(Further::Wave, uploads, &mut emit));
        accepted += collected.map_err(io::Error::other)?.accepted();
    }
    Ok(accepted)
}

/// One hash of all cells of a CSV file but its header: equal for equal tables, however they are quoted.
///
/// # Errors
/// Those of the file.
pub fn checksum(file: &Path) -> io::Result<String> {
    let mut table = csv::ReaderBuilder::new().from_path(file)?;
    let (mut hash, mut record) = (Xxh3::new(), csv::ByteRecord::new());
    while table.read_byte_record(&mut record)? {
        for cell in &record {
            hash.update(cell);
            hash.update(&[0x1f]);
        }
        hash.update(&[0x1e]);
    }
    Ok(format!("{:016x}", hash.digest()))
}

/// The bytes a row takes in the stored segments of a folder, in hundredths.
///
/// # Errors
/// Those of the folder.
pub fn stored(data: &Data, folder: &str) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(data.path(folder))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes * 100 / data.rows)
}
