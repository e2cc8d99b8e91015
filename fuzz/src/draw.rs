//! Choices that depend on the input alone, so that an input that broke something does so again.

use std::io::{self, Read};

use xxhash_rust::xxh3::xxh3_64;

/// A source of choices.
pub struct Draw(u64);

impl Draw {
    /// The choices for these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = xxh3_64(&self.0.to_le_bytes());
        usize::try_from(self.0 % (end as u64).max(1)).expect("it is below a usize")
    }
}

/// Hands bytes out in pieces of changing size.
pub struct Pieces<'a> {
    left: &'a [u8],
    sizes: Draw,
}

impl<'a> Pieces<'a> {
    /// The pieces of these bytes.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { left: bytes, sizes: Draw::of(bytes) }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = 1 << self.sizes.below(8);
        let (piece, left) = self.left.split_at(most.min(self.left.len()).min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.left = left;
        Ok(piece.len())
    }
}
