//! A block of text looked at with the widest instructions that the processor has.
//!
//! Compiled once for what every processor has and once for the x86-64 of 2013 and later, which takes half as many
//! instructions; which of them runs is found out when a partition is opened.

#[cfg(target_arch = "x86_64")]
use pulp::x86::V3;
use wide::u8x16;

/// Bytes of a block: as many as a mask has bits.
pub(super) const BLOCK: usize = 64;

/// A way to look at blocks. A mask has a bit for each byte of a block, the lowest for the first.
pub(super) trait Lanes: Copy {
    /// The bytes that are this one.
    fn equal(self, block: &[u8; BLOCK], byte: u8) -> u64;

    /// The same, for a byte that most blocks do not hold.
    #[inline(always)]
    fn seldom(self, block: &[u8; BLOCK], byte: u8) -> u64 {
        self.equal(block, byte)
    }

    /// The quotes, and the backslashes, commas and control characters.
    fn quotes_and_special(self, block: &[u8; BLOCK]) -> (u64, u64);
}

/// What is done with whatever lanes there are. All it calls has to be inlined, or it is compiled for any processor.
pub(super) trait Task {
    type Output;

    fn run(self, lanes: impl Lanes) -> Self::Output;
}

/// What the processor can do.
#[derive(Clone, Copy)]
pub(super) struct Processor {
    #[cfg(target_arch = "x86_64")]
    v3: Option<V3>,
}

impl Processor {
    /// The one this runs on.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            v3: V3::try_new(),
        }
    }

    /// Runs a task with its widest lanes.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = self.v3 {
            return v3.vectorize(
                #[inline(always)]
                || task.run(v3),
            );
        }
        task.run(Sixteen)
    }
}

/// Sixteen bytes at once, as every processor can.
#[derive(Clone, Copy)]
pub(super) struct Sixteen;

impl Lanes for Sixteen {
    #[inline(always)]
    fn equal(self, block: &[u8; BLOCK], byte: u8) -> u64 {
        mask(block, |bytes| bytes.simd_eq(u8x16::splat(byte)))
    }

    /// To make a mask takes many instructions on ARM, so it is asked first whether there is anything.
    #[inline(always)]
    fn seldom(self, block: &[u8; BLOCK], byte: u8) -> u64 {
        let are = |bytes: &[u8; 16]| u8x16::new(*bytes).simd_eq(u8x16::splat(byte));
        let any = block.as_chunks::<16>().0.iter().fold(u8x16::splat(0), |any, bytes| any | are(bytes));
        if any.to_bitmask() == 0 { 0 } else { self.equal(block, byte) }
    }

    #[inline(always)]
    fn quotes_and_special(self, block: &[u8; BLOCK]) -> (u64, u64) {
        let special = mask(block, |bytes| {
            let are = |byte| bytes.simd_eq(u8x16::splat(byte));
            are(b'\\') | are(b',') | are(0x7f) | bytes.min(u8x16::splat(0x1f)).simd_eq(bytes)
        });
        (self.equal(block, b'"'), special)
    }
}

/// A bit for each byte of a block for which `found` gives ones.
#[inline(always)]
fn mask(block: &[u8; BLOCK], found: impl Fn(u8x16) -> u8x16) -> u64 {
    let parts = block.as_chunks::<16>().0.iter().enumerate();
    parts.fold(0, |mask, (part, bytes)| {
        mask | u64::from(found(u8x16::new(*bytes)).to_bitmask()) << (16 * part)
    })
}

#[cfg(target_arch = "x86_64")]
mod v3 {
    use core::arch::x86_64::__m256i;

    use super::{BLOCK, Lanes, V3};

    // Closures would stand in the way of inlining.

    impl Lanes for V3 {
        #[inline(always)]
        fn equal(self, block: &[u8; BLOCK], byte: u8) -> u64 {
            let [low, high]: [__m256i; 2] = pulp::cast(*block);
            mask(self, are(self, low, byte), are(self, high, byte))
        }

        #[inline(always)]
        fn quotes_and_special(self, block: &[u8; BLOCK]) -> (u64, u64) {
            let [low, high]: [__m256i; 2] = pulp::cast(*block);
            (self.equal(block, b'"'), mask(self, special(self, low), special(self, high)))
        }
    }

    #[inline(always)]
    fn are(v3: V3, bytes: __m256i, byte: u8) -> __m256i {
        v3.avx2._mm256_cmpeq_epi8(bytes, v3.avx._mm256_set1_epi8(byte as i8))
    }

    #[inline(always)]
    fn special(v3: V3, bytes: __m256i) -> __m256i {
        let least = v3.avx2._mm256_min_epu8(bytes, v3.avx._mm256_set1_epi8(0x1f));
        let control = v3.avx2._mm256_or_si256(v3.avx2._mm256_cmpeq_epi8(least, bytes), are(v3, bytes, 0x7f));
        let other = v3.avx2._mm256_or_si256(are(v3, bytes, b'\\'), are(v3, bytes, b','));
        v3.avx2._mm256_or_si256(control, other)
    }

    #[inline(always)]
    fn mask(v3: V3, low: __m256i, high: __m256i) -> u64 {
        let low = v3.avx2._mm256_movemask_epi8(low) as u32;
        let high = v3.avx2._mm256_movemask_epi8(high) as u32;
        low as u64 | (high as u64) << 32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The masks of a block, found byte by byte or as wide as it goes.
    struct Masks<'a>(&'a [u8; BLOCK]);

    impl Task for Masks<'_> {
        type Output = [u64; 5];

        fn run(self, lanes: impl Lanes) -> Self::Output {
            let (quotes, special) = lanes.quotes_and_special(self.0);
            [
                quotes,
                special,
                lanes.equal(self.0, b','),
                lanes.equal(self.0, 0xff),
                lanes.seldom(self.0, b'~'),
            ]
        }
    }

    proptest! {
        #[test]
        fn every_processor_sees_the_same(bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\"\\,\x00\x1f\x20\x7e\x7f\x80\xff".as_slice())
        ], BLOCK)) {
            let block: &[u8; BLOCK] = bytes.first_chunk().expect("so many were asked for");
            let mask = |is: &dyn Fn(u8) -> bool| {
                block.iter().rev().fold(0_u64, |mask, byte| mask << 1 | u64::from(is(*byte)))
            };
            let expected = [
                mask(&|byte| byte == b'"'),
                mask(&|byte| byte.is_ascii_control() || byte == b'\\' || byte == b','),
                mask(&|byte| byte == b','),
                mask(&|byte| byte == 0xff),
                mask(&|byte| byte == b'~'),
            ];
            prop_assert_eq!(Masks(block).run(Sixteen), expected);
            prop_assert_eq!(Processor::new().run(Masks(block)), expected);
        }
    }
}
