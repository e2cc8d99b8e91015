//! Where the quotes of a row are, 64 bytes at a time, and what else its strings hold.
//!
//! Every byte is looked at once, sixteen in one instruction; after that a cell is a matter of a few bits.

use wide::u8x16;

use super::{Form, Span};

/// Bytes of a block: as many as a mask has bits.
const BLOCK: usize = 64;

/// The strings of a row, found from its first byte on.
pub(super) struct Blocks<'a> {
    bytes: &'a [u8],
    /// Where the block begins, and where the next one does.
    base: usize,
    next: usize,
    marks: Marks,
    /// The first byte of the next block is escaped by the last one of this.
    escaped: bool,
}

/// What stands in a block, a bit for each byte.
#[derive(Clone, Copy, Default)]
struct Marks {
    /// Quotes that are not escaped.
    quotes: u64,
    backslashes: u64,
    commas: u64,
    /// Control characters, and escaped characters that are no quotes.
    strange: u64,
}

impl<'a> Blocks<'a> {
    /// The strings of the row that `bytes` begins with.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, base: 0, next: 0, marks: Marks::default(), escaped: false }
    }

    /// The string whose text begins at `start`, which is behind all that was asked for before. None when it
    /// does not end.
    #[inline]
    pub(super) fn string(&mut self, start: usize) -> Option<Span> {
        let mut held = Marks::default();
        let mut from = start;
        loop {
            while from >= self.next {
                self.advance()?;
            }
            let rest = u64::MAX << (from - self.base);
            let ends = self.marks.quotes & rest;
            // The bits before the first end; all of them when there is none.
            held.add(&self.marks, rest & (ends & ends.wrapping_neg()).wrapping_sub(1));
            if ends != 0 {
                let end = self.base + ends.trailing_zeros() as usize;
                return Some(Span { start: start as u32, end: end as u32, form: held.form() });
            }
            from = self.next;
        }
    }

    /// Goes to the next block; none when there is none.
    #[inline]
    fn advance(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.next..).filter(|rest| !rest.is_empty())?;
        self.marks = rest.first_chunk().map_or_else(|| Marks::of_last(rest), Marks::of);
        self.base = self.next;
        self.next += BLOCK;
        if self.escaped || self.marks.backslashes != 0 {
            let escaped = escaped(self.marks.backslashes, &mut self.escaped);
            self.marks.strange |= escaped & !self.marks.quotes;
            self.marks.quotes &= !escaped;
        }
        Some(())
    }
}

impl Marks {
    /// What a block holds; its quotes may be escaped.
    #[inline]
    fn of(block: &[u8; BLOCK]) -> Self {
        let mut marks = Self::default();
        for (part, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::new(*bytes);
            let bits = |mask: u8x16| u64::from(mask.to_bitmask()) << (16 * part);
            let are = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
            marks.quotes |= bits(are(b'"'));
            marks.backslashes |= bits(are(b'\\'));
            marks.commas |= bits(are(b','));
            marks.strange |= bits(bytes.min(u8x16::splat(0x1f)).simd_eq(bytes) | are(0x7f));
        }
        marks
    }

    /// What the end of the text holds, which is shorter than a block.
    #[cold]
    fn of_last(rest: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        Self::of(&block)
    }

    #[inline]
    const fn add(&mut self, other: &Self, inside: u64) {
        self.backslashes |= other.backslashes & inside;
        self.commas |= other.commas & inside;
        self.strange |= other.strange & inside;
    }

    /// The form of a string that holds these. A table, because which it is cannot be foreseen.
    #[inline]
    const fn form(&self) -> Form {
        use Form::{Clean, Commas, Escaped, Plain, Quotes};
        const FORMS: [Form; 8] = [Clean, Commas, Plain, Plain, Quotes, Quotes, Escaped, Escaped];
        let [commas, strange, backslashes] = [self.commas != 0, self.strange != 0, self.backslashes != 0];
        FORMS[(backslashes as usize) << 2 | (strange as usize) << 1 | commas as usize]
    }
}

/// The bytes that a backslash stands before which is not escaped itself. Of a run of backslashes every other
/// one escapes; adding up finds the ends of all runs at once, as in <https://arxiv.org/abs/1902.08318>.
#[inline]
fn escaped(backslashes: u64, carried: &mut bool) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let first = u64::from(*carried);
    let escaping = backslashes & !first;
    let ends = ((escaping << 1) | ODD).wrapping_sub(escaping) ^ ODD;
    *carried = ends & backslashes & 1 << 63 != 0;
    ends ^ (backslashes | first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escapes_are_those_found_one_by_one(
            blocks in prop::collection::vec(prop_oneof![any::<u64>(), Just(u64::MAX), Just(u64::MAX >> 1)], 1..5),
        ) {
            let (mut carried, mut before) = (false, false);
            for block in blocks {
                let mut expected = 0_u64;
                for bit in 0..64 {
                    expected |= u64::from(before) << bit;
                    before = !before && block >> bit & 1 == 1;
                }
                prop_assert_eq!(escaped(block, &mut carried), expected);
                prop_assert_eq!(carried, before);
            }
        }
    }
}
