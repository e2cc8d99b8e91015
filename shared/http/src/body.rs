//! A streamed answer.

use std::fmt;
use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use engine::Failure;
use flate2::write::MultiGzDecoder;
use tokio::runtime::Handle;

use crate::address::Place;
use crate::failure::broken_off;

/// Compressed bytes that are decoded in one step: bounds what one step can produce.
const DECODED_AT_ONCE: usize = 16 * 1024;

/// The body of an answer, read piece by piece. An answer that breaks off is a `Transient` failure.
pub struct Body {
    /// Received, not yet looked at by the decoder.
    raw: Bytes,
    /// Decoded, not yet handed out.
    ready: Bytes,
    source: Option<Box<Source>>,
    decoder: Option<Box<MultiGzDecoder<Vec<u8>>>>,
}

struct Source {
    response: reqwest::Response,
    place: Place,
    silence: Duration,
}

impl Source {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        match tokio::time::timeout(self.silence, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(broken_off(&self.place, &error.without_url())),
            Err(_) => Err(Failure::transient(format!(
                "{}: the answer stopped for {} s",
                self.place,
                self.silence.as_secs()
            ))),
        }
    }
}

impl Body {
    pub(crate) fn new(response: reqwest::Response, place: Place, silence: Duration) -> Self {
        let source = Some(Box::new(Source { response, place, silence }));
        Self { raw: Bytes::new(), ready: Bytes::new(), source, decoder: None }
    }

    /// The next bytes, never empty; `None` at the end.
    ///
    /// # Errors
    /// `Transient` if the answer breaks off, stalls, or is no whole gzip stream where it is decoded.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if !self.ready.is_empty() {
                return Ok(Some(std::mem::take(&mut self.ready)));
            }
            let raw = self.raw_chunk().await?;
            let Some(decoder) = &mut self.decoder else { return Ok(raw) };
            let Some(mut raw) = raw else {
                decoder.try_finish().map_err(|error| corrupt(&error))?;
                self.ready = std::mem::take(decoder.get_mut()).into();
                self.decoder = None;
                continue;
            };
            let step = raw.split_to(raw.len().min(DECODED_AT_ONCE));
            self.raw = raw;
            decoder.write_all(&step).map_err(|error| corrupt(&error))?;
            self.ready = std::mem::take(decoder.get_mut()).into();
        }
    }

    async fn raw_chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        if !self.raw.is_empty() {
            return Ok(Some(std::mem::take(&mut self.raw)));
        }
        while let Some(source) = &mut self.source {
            match source.chunk().await? {
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => return Ok(Some(chunk)),
                None => self.source = None,
            }
        }
        Ok(None)
    }

    /// The same body, unpacked while it is read if it starts with the magic bytes of gzip.
    ///
    /// The header does not decide: some stacks unpack on the way and leave it.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub async fn decoded(mut self) -> Result<Self, Failure> {
        self.look_ahead(2).await?;
        if self.raw.starts_with(&[0x1f, 0x8b]) {
            self.decoder = Some(Box::new(MultiGzDecoder::new(Vec::new())));
        }
        Ok(self)
    }

    /// Whether there is nothing (more) to read. Nothing is lost by asking.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub async fn is_empty(&mut self) -> Result<bool, Failure> {
        if self.decoder.is_none() && self.ready.is_empty() {
            self.look_ahead(1).await?;
            return Ok(self.raw.is_empty());
        }
        self.ready = self.chunk().await?.unwrap_or_default();
        Ok(self.ready.is_empty())
    }

    async fn look_ahead(&mut self, length: usize) -> Result<(), Failure> {
        let mut seen = BytesMut::new();
        while seen.len() < length {
            let Some(chunk) = self.raw_chunk().await? else { break };
            seen.extend_from_slice(&chunk);
        }
        self.raw = seen.freeze();
        Ok(())
    }

    /// Everything that is left.
    ///
    /// # Errors
    /// As [`Body::chunk`]; `Bug` if it is more than `most` bytes.
    pub async fn bytes(mut self, most: usize) -> Result<Bytes, Failure> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > most {
                return Err(Failure::bug(format!("an answer is longer than {most} bytes")));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// The first bytes, as far as they come: for the text of an error, where half is better than none.
    pub(crate) async fn beginning(mut self, most: usize) -> Bytes {
        let mut all = BytesMut::new();
        while all.len() < most {
            let Ok(Some(chunk)) = self.chunk().await else { break };
            all.extend_from_slice(&chunk[..chunk.len().min(most - all.len())]);
        }
        all.freeze()
    }

    /// The same body for code that blocks. Call it inside a runtime, read it in `spawn_blocking`.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn into_blocking(self) -> BlockingBody {
        BlockingBody { body: self, current: Bytes::new(), runtime: Handle::current() }
    }
}

impl From<Bytes> for Body {
    /// A body that is already here.
    fn from(bytes: Bytes) -> Self {
        Self { raw: bytes, ready: Bytes::new(), source: None, decoder: None }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("decoding", &self.decoder.is_some()).finish_non_exhaustive()
    }
}

fn corrupt(error: &io::Error) -> Failure {
    Failure::transient(format!("the answer is no whole gzip stream ({})", error.kind()))
}

/// A [`Body`] for code that blocks. Its I/O errors hold a [`Failure`]: see [`crate::from_io`].
///
/// Reading it on a thread of the runtime itself panics: use `spawn_blocking`.
#[derive(Debug)]
pub struct BlockingBody {
    body: Body,
    current: Bytes,
    runtime: Handle,
}

impl Read for BlockingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            let chunk = self.runtime.block_on(self.body.chunk()).map_err(io::Error::other)?;
            self.current = chunk.unwrap_or_default();
        }
        let length = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn gzip_is_told_by_its_magic_bytes() {
        let text = "0123456789".repeat(100_000);
        for packed in [gzip(text.as_bytes()), text.clone().into_bytes()] {
            let mut body = Body::from(Bytes::from(packed)).decoded().await.unwrap();
            assert!(!body.is_empty().await.unwrap());
            assert!(!body.is_empty().await.unwrap());
            assert_eq!(body.bytes(text.len()).await.unwrap(), text);
        }
    }

    #[tokio::test]
    async fn empty_bodies_are_empty() {
        for bytes in [Vec::new(), gzip(b"")] {
            let mut body = Body::from(Bytes::from(bytes)).decoded().await.unwrap();
            assert!(body.is_empty().await.unwrap());
            assert_eq!(body.chunk().await.unwrap(), None);
        }
        let mut body = Body::from(Bytes::from_static(b"x"));
        assert!(!body.is_empty().await.unwrap());
        assert_eq!(body.bytes(1).await.unwrap(), "x");
    }

    #[tokio::test]
    async fn a_gzip_stream_cut_anywhere_is_noticed() {
        let whole = gzip("value,".repeat(1000).as_bytes());
        for length in 2..whole.len() {
            let body = Body::from(Bytes::copy_from_slice(&whole[..length])).decoded().await.unwrap();
            let failure = body.bytes(1 << 20).await.unwrap_err();
            assert_eq!(failure.class, engine::Class::Transient, "{length}");
        }
    }

    #[tokio::test]
    async fn too_long_is_refused() {
        assert!(Body::from(Bytes::from_static(b"123")).bytes(2).await.is_err());
    }
}
