//! The partitions: copied as they come, read through while they pass.

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use engine::{
    Failure, RunRef,
    document::{Chunk, Extracted, Scan, Submitted},
    layout, partition,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use store::Store;

use crate::CHUNK_ROWS;

/// Partitions copied side by side: enough to hide the network, few enough for a small memory.
const SIDE_BY_SIDE: usize = 3;

/// What must be left of an invocation for another partition to be begun.
const RESERVE: Duration = Duration::from_secs(90);

/// Copies every partition that is not there yet; `None` when the deadline came first.
pub(crate) async fn partitions(
    store: &Store,
    snowflake: &snowflake::Client,
    run: &RunRef,
    submitted: &Submitted,
    extracted: &Extracted,
    deadline: Option<Instant>,
) -> Result<Option<Vec<Scan>>, Failure> {
    let copies = (0u32..).zip(&extracted.partitions).map(|(number, &rows)| {
        let source = Source { store, snowflake, run, handle: &submitted.handle };
        let key_column = extracted.mapping.key.column;
        async move {
            if deadline.is_some_and(|deadline| Instant::now() + RESERVE > deadline) {
                return Ok(None);
            }
            source.copy(number, key_column, rows).await.map(Some)
        }
    });
    stream::iter(copies)
        .buffered(SIDE_BY_SIDE)
        .try_collect::<Vec<Option<Scan>>>()
        .await
        .map(|scans| scans.into_iter().collect())
}

/// Packs the partitions into chunks, once their rows add up to what Snowflake counted.
pub(crate) fn manifest(extracted: &Extracted, scans: &[Scan]) -> Result<Vec<Chunk>, Failure> {
    let found: u64 = scans.iter().map(|scan| scan.rows).sum();
    if found != extracted.rows {
        return Err(Failure::bug(format!(
            "Snowflake counts {} rows, the partitions hold {found}",
            extracted.rows
        )));
    }
    Ok(engine::manifest::manifest(scans, CHUNK_ROWS))
}

struct Source<'a> {
    store: &'a Store,
    snowflake: &'a snowflake::Client,
    run: &'a RunRef,
    handle: &'a str,
}

impl Source<'_> {
    async fn copy(&self, number: u32, key_column: usize, rows: u64) -> Result<Scan, Failure> {
        let place = layout::partition_scan(self.run, number);
        if let Some(scan) = self.store.get_json(&place).await? {
            return Ok(scan);
        }
        let scan = if number == 0 || self.store.exists(&layout::partition(self.run, number)).await? {
            self.scan_copy(number, key_column).await?
        } else {
            self.download(number, key_column, rows).await?
        };
        check_rows(number, scan.rows, rows)?;
        self.store.create_or_agree(&place, engine::document::to_bytes(&scan)).await?;
        Ok(scan)
    }

    /// Reads through a partition that an earlier try copied.
    async fn scan_copy(&self, number: u32, key_column: usize) -> Result<Scan, Failure> {
        let (store, place) = (self.store.blocking(), layout::partition(self.run, number));
        store::blocking(move || partition::scan(store.reader(&place)?, key_column)).await
    }

    /// Copies a partition; the copy appears only when its rows were all there.
    async fn download(&self, number: u32, key_column: usize, rows: u64) -> Result<Scan, Failure> {
        let body = self.snowflake.partition(self.handle, number).await?;
        let (store, place) = (self.store.blocking(), layout::partition(self.run, number));
        store::blocking(move || {
            let mut copy = Copy { from: body.into_blocking(), to: store.writer(&place)? };
            let scan = partition::scan(&mut copy, key_column)?;
            io::copy(&mut copy, &mut io::sink()).map_err(|error| Failure::io(&place, &error))?;
            check_rows(number, scan.rows, rows)?;
            copy.to.finish()?;
            Ok(scan)
        })
        .await
    }
}

fn check_rows(number: u32, found: u64, announced: u64) -> Result<(), Failure> {
    if found == announced {
        return Ok(());
    }
    Err(Failure::transient(format!("partition {number} holds {found} rows, Snowflake announced {announced}")))
}

/// Reads from one end and writes what it read to the other.
struct Copy<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Read for Copy<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}
