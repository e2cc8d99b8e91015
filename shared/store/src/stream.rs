//! Objects too big for memory.
//!
//! Either half holds about one [`PART`] at a time, whatever the size of the object.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf, Bytes};
use engine::Failure;
use tokio::runtime::Handle;

use crate::{Put, blocking, directory};

/// How many bytes a writer gathers before it sends them: 8 MiB. S3 wants at least 5 MiB in each part
/// but the last, and at most 10,000 parts, which makes 80 GiB the largest object.
pub const PART: usize = 8 << 20;

/// How much of a file one [`Reader::chunk`] holds.
const FILE_CHUNK: usize = 256 << 10;

/// An object being read.
pub struct Reader {
    size: u64,
    source: Source,
}

/// An object being written: it appears whole when it is finished, and not at all when it is dropped.
pub struct Writer {
    key: String,
    buffer: Vec<u8>,
    sink: Sink,
    /// Set while a part is on its way, so that a failed part is never followed by a finished object.
    torn: bool,
}

/// A [`Reader`] for code that blocks. Each failure comes as an I/O error that [`crate::failure`] opens.
pub struct BlockingReader {
    reader: Reader,
    rest: Bytes,
    handle: Handle,
}

/// A [`Writer`] for code that blocks. Each failure comes as an I/O error that [`crate::failure`] opens.
pub struct BlockingWriter {
    writer: Writer,
    handle: Handle,
}

pub(crate) enum Source {
    File(Arc<File>),
    #[cfg(feature = "s3")]
    S3(Box<crate::s3::Download>),
}

pub(crate) enum Sink {
    File(directory::Upload),
    #[cfg(feature = "s3")]
    S3(crate::s3::Upload),
}

impl Reader {
    pub(crate) fn new(size: u64, source: Source) -> Self {
        Self { size, source }
    }

    /// The size of the whole object in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes, never none of them, or `None` at the end of the object.
    ///
    /// # Errors
    /// `Transient` when the object cannot be read to its end now.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match &mut self.source {
            Source::File(file) => file_chunk(file.clone()).await,
            #[cfg(feature = "s3")]
            Source::S3(download) => download.chunk().await,
        }
    }

    /// The rest of the object for code that runs inside [`blocking`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime. Reading panics on a thread that drives one.
    #[must_use]
    pub fn into_blocking(self) -> BlockingReader {
        BlockingReader { reader: self, rest: Bytes::new(), handle: Handle::current() }
    }
}

impl Writer {
    pub(crate) fn new(key: &str, sink: Sink) -> Self {
        Self { key: key.to_owned(), buffer: Vec::new(), sink, torn: false }
    }

    /// Appends `bytes`. They are gathered; every full [`PART`] is sent before more are taken.
    ///
    /// # Errors
    /// `Transient` or `Configuration`, as for [`crate::Store::create`]. The object cannot be finished then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        while self.overflows(rest) {
            rest = self.fill(rest);
            self.send().await?;
        }
        self.buffer.extend_from_slice(rest);
        Ok(())
    }

    /// Makes the object appear, unless there is one already.
    ///
    /// # Errors
    /// Those of [`crate::Store::create`], and `Bug` after a failed [`Writer::write`].
    pub async fn finish(self) -> Result<Put, Failure> {
        if self.torn {
            return Err(Failure::bug(format!("object `{}` lacks a part that could not be sent", self.key)));
        }
        let rest = Bytes::from(self.buffer);
        match self.sink {
            Sink::File(upload) => upload.finish(rest).await,
            #[cfg(feature = "s3")]
            Sink::S3(upload) => upload.finish(rest).await,
        }
    }

    /// The writer for code that runs inside [`blocking`].
    ///
    /// # Panics
    /// Outside of a Tokio runtime. Writing panics on a thread that drives one.
    #[must_use]
    pub fn into_blocking(self) -> BlockingWriter {
        BlockingWriter { writer: self, handle: Handle::current() }
    }

    /// A part is sent only when a byte follows it, so that an object of one part needs one request.
    fn overflows(&self, more: &[u8]) -> bool {
        self.buffer.len() + more.len() > PART
    }

    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (now, later) = bytes.split_at(PART - self.buffer.len());
        self.buffer.extend_from_slice(now);
        later
    }

    async fn send(&mut self) -> Result<(), Failure> {
        self.torn = true;
        let part = Bytes::from(std::mem::take(&mut self.buffer));
        match &mut self.sink {
            Sink::File(upload) => upload.part(part).await?,
            #[cfg(feature = "s3")]
            Sink::S3(upload) => upload.part(part).await?,
        }
        self.torn = false;
        Ok(())
    }
}

impl BlockingReader {
    /// The size of the whole object in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.reader.size
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            let chunk = self.handle.block_on(self.reader.chunk()).map_err(io::Error::other)?;
            self.rest = chunk.unwrap_or_default();
        }
        let taken = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

impl BlockingWriter {
    /// Makes the object appear, unless there is one already.
    ///
    /// # Errors
    /// Those of [`Writer::finish`].
    pub fn finish(self) -> Result<Put, Failure> {
        self.handle.block_on(self.writer.finish())
    }
}

impl io::Write for BlockingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.writer.overflows(bytes) {
            self.handle.block_on(self.writer.write(bytes)).map_err(io::Error::other)?;
        } else {
            self.writer.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    /// Nothing: bytes are on their way when a part is full, and safe when the object is finished.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn file_chunk(file: Arc<File>) -> Result<Option<Bytes>, Failure> {
    blocking(move || {
        let mut chunk = vec![0; FILE_CHUNK];
        let read = (&*file).read(&mut chunk).map_err(|error| {
            Failure::transient(format!("an open object cannot be read: {}", error.kind()))
        })?;
        chunk.truncate(read);
        Ok((read > 0).then(|| Bytes::from(chunk)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[tokio::test]
    async fn a_dropped_writer_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::directory(root.path());
        let mut writer = store.writer("a/b").await.unwrap();
        writer.write(&vec![1; PART + 1]).await.unwrap();
        drop(writer);
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());
        let left = std::fs::read_dir(root.path().join(directory::OWN_FOLDER)).unwrap();
        assert_eq!(left.count(), 0, "the temporary file is gone");
    }

    #[tokio::test]
    async fn a_torn_object_cannot_be_finished() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::directory(root.path());
        let mut writer = store.writer("a").await.unwrap();
        writer.torn = true;
        assert!(writer.finish().await.is_err());
        assert!(!store.exists("a").await.unwrap());
    }
}
