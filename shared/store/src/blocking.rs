//! The store for code that computes: the engine reads and writes streams, and does so in a thread
//! of its own, where waiting is allowed.

use std::hash::Hasher;

use bytes::Bytes;
use engine::{Failure, RunRef, document::Chunk, layout};
use tokio::runtime::Handle;
use twox_hash::XxHash3_64;

use crate::{BlockingReader, BlockingWriter, Reader, Store};

/// A store whose calls wait. Only for `spawn_blocking`: in a task it would stop the runtime.
#[derive(Clone)]
pub struct Blocking {
    store: Store,
    runtime: Handle,
}

impl Store {
    /// This store for a thread that may wait.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn blocking(&self) -> Blocking {
        Blocking { store: self.clone(), runtime: Handle::current() }
    }

    /// The chunk of that number in the manifest of a run.
    ///
    /// # Errors
    /// [`engine::Class::Configuration`] when the run has no manifest or no such chunk.
    pub async fn chunk(&self, run: &RunRef, number: engine::ChunkNo) -> Result<Chunk, Failure> {
        let manifest: Vec<Chunk> = self.require(&layout::manifest(run)).await?;
        let count = manifest.len();
        manifest.into_iter().nth(number as usize).ok_or_else(|| {
            Failure::configuration(format!("run `{run}` has {count} chunks, so there is no chunk {number}"))
        })
    }

    /// XXH3-64 of an object's bytes in lower-case hexadecimal, as segments are named by.
    ///
    /// # Errors
    /// The classes of the store.
    pub async fn checksum(&self, key: &str) -> Result<String, Failure> {
        checksum(self.reader(key).await?).await
    }
}

/// XXH3-64 of what is left of an object, in lower-case hexadecimal.
pub(crate) async fn checksum(mut reader: Reader) -> Result<String, Failure> {
    let mut hash = XxHash3_64::new();
    while let Some(chunk) = reader.chunk().await? {
        hash.write(&chunk);
    }
    Ok(format!("{:016x}", hash.finish()))
}

impl Blocking {
    /// Opens an object for reading.
    ///
    /// # Errors
    /// As [`Store::reader`].
    pub fn reader(&self, key: &str) -> Result<BlockingReader, Failure> {
        Ok(self.runtime.block_on(self.store.reader(key))?.into_blocking())
    }

    /// Opens a new object for writing.
    ///
    /// # Errors
    /// As [`Store::writer`].
    pub fn writer(&self, key: &str) -> Result<BlockingWriter, Failure> {
        Ok(self.runtime.block_on(self.store.writer(key))?.into_blocking())
    }

    /// Writes an object, or finds it written with the same bytes.
    ///
    /// # Errors
    /// As [`Store::create_or_agree`].
    pub fn create_or_agree(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.runtime.block_on(self.store.create_or_agree(key, bytes))
    }
}
