//! Where the strings of a text are, and what else they hold.
//!
//! Every byte is looked at once, many in one instruction. A batch of blocks is looked at before its strings are
//! asked for, so that finding one does not wait for the one before: after that a cell is a matter of a few bits.

mod lanes;

use super::{Span, Spans};
use lanes::{BLOCK, Lanes, Processor, Task};

/// Blocks that are looked at in one go: a few rows.
const BATCH: usize = 32;

/// Quotes that are written down at once, whether there are as many or not: a block seldom has more.
const AT_ONCE: usize = 8;

/// Quotes of a batch, the one before them that still waits for its end, and what is written too much.
const MOST: usize = BATCH * BLOCK + 1 + AT_ONCE;

/// The strings of a text, found from a place on that is in none.
pub(super) struct Index {
    /// Where the quotes are that are not escaped: beginning, end, beginning, … Those before `used` have been asked
    /// for, those from `found` on mean nothing.
    quotes: Box<[u32; MOST]>,
    used: usize,
    found: usize,
    /// What stands in each string, by half the place of its first quote.
    held: Box<[u8; MOST / 2 + 1]>,
    /// Where the next block begins.
    next: usize,
    /// The first byte of the next block is escaped by the last one before it.
    escaped: bool,
    /// All ones when the next block begins within a string, else zero.
    inside: u64,
    processor: Processor,
}

/// To look at the next batch; none at the end of the text.
struct Look<'a> {
    index: &'a mut Index,
    text: &'a [u8],
}

impl Task for Look<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn run(self, lanes: impl Lanes) -> Self::Output {
        self.index.look(self.text, lanes)
    }
}

/// What stands in a block that holds something special, a bit for each byte.
struct Marks {
    quotes: u64,
    backslashes: u64,
    commas: u64,
    /// Control characters, and escaped characters that are no quotes.
    strange: u64,
}

/// What a string holds.
pub(super) const COMMAS: u8 = 1;
const STRANGE: u8 = 2;
const BACKSLASHES: u8 = 4;

impl Index {
    pub(super) fn new() -> Self {
        let (quotes, held) = (Box::new([0; MOST]), Box::new([0; MOST / 2 + 1]));
        Self {
            quotes,
            used: 0,
            found: 0,
            held,
            next: 0,
            escaped: false,
            inside: 0,
            processor: Processor::new(),
        }
    }

    /// Forgets everything: the strings are those from `at` on, which is in none.
    pub(super) fn restart(&mut self, at: usize) {
        (self.used, self.found, self.next, self.escaped, self.inside) = (0, 0, at, false, 0);
        self.held[0] = 0;
    }

    /// Adds the next string of `text` to `spans`, and all that follow it with nothing but a comma in between. The place
    /// behind the last; none when one does not end in `text`, then only [`Self::restart`] may follow. `escapes` becomes
    /// true when one may hold other escapes than those of quotes.
    #[inline]
    pub(super) fn strings(&mut self, text: &[u8], spans: &mut Spans, escapes: &mut bool) -> Option<usize> {
        loop {
            let (strings, _) = self.quotes[self.used..self.found].as_chunks::<2>();
            let strings = strings.iter().zip(&self.held[self.used / 2..]);
            let (mut seen, mut all, mut last) = (0, 0, None);
            for ((&[start, end], &held), span) in strings.zip(spans.free()) {
                *span = Span { start: start + 1, end, held };
                seen += 1;
                all |= held;
                if text.get(end as usize + 1..end as usize + 3) != Some(b",\"") {
                    last = Some(end as usize + 1);
                    break;
                }
            }
            self.used += 2 * seen;
            spans.found += seen;
            *escapes |= all & (STRANGE | BACKSLASHES) == STRANGE | BACKSLASHES;
            if last.is_some() {
                return last;
            }
            if self.found - self.used < 2 {
                self.processor.run(Look { index: self, text })?;
            }
        }
    }

    #[inline(always)]
    fn look(&mut self, text: &[u8], lanes: impl Lanes) -> Option<()> {
        let rest = text.get(self.next..).filter(|rest| !rest.is_empty())?;
        // At most the beginning of a string is left, and what the string holds so far.
        self.quotes[0] = self.quotes[self.used];
        self.held[0] = self.held[self.used / 2];
        self.held[1..].fill(0);
        (self.found, self.used) = (self.found - self.used, 0);
        let (blocks, last) = rest.as_chunks::<BLOCK>();
        for block in blocks.iter().take(BATCH) {
            self.add(block, lanes);
        }
        if blocks.is_empty() {
            let mut block = [b' '; BLOCK];
            block[..last.len()].copy_from_slice(last);
            self.add(&block, lanes);
            self.next = text.len();
        }
        Some(())
    }

    /// Takes down the next block.
    #[inline(always)]
    fn add(&mut self, block: &[u8; BLOCK], lanes: impl Lanes) {
        let (mut quotes, special) = lanes.quotes_and_special(block);
        let (backslashes, mut escapes) = (lanes.seldom(block, b'\\'), 0);
        if self.escaped || backslashes != 0 {
            let escaped = escaped(backslashes, &mut self.escaped);
            escapes = escaped & !quotes;
            quotes &= !escaped;
        }
        let inside = ends_between(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(inside >> 63);
        let special = (special | escapes) & inside;
        if special != 0 {
            let commas = lanes.equal(block, b',');
            let strange = special & !commas & !backslashes | escapes;
            self.hold(&Marks { quotes, backslashes, commas: commas & !escapes, strange }, special);
        }
        self.add_quotes(quotes);
        self.next += BLOCK;
    }

    #[inline(always)]
    fn add_quotes(&mut self, mut quotes: u64) {
        let base = self.next as u32;
        let count = quotes.count_ones() as usize;
        let mut next = || {
            let at = base + quotes.trailing_zeros();
            quotes &= quotes.wrapping_sub(1);
            at
        };
        let slots = &mut self.quotes[self.found..];
        slots[..AT_ONCE].iter_mut().for_each(|slot| *slot = next());
        if count > AT_ONCE {
            slots[AT_ONCE..count].iter_mut().for_each(|slot| *slot = next());
        }
        self.found += count;
    }

    /// Adds what stands in the strings of a block, one string after the other.
    #[inline(always)]
    fn hold(&mut self, marks: &Marks, mut special: u64) {
        while special != 0 {
            let first = special & special.wrapping_neg();
            let before = (marks.quotes & (first - 1)).count_ones() as usize;
            // The bits before the end of the string; all of them when it ends in a later block.
            let ends = marks.quotes & first.wrapping_neg();
            let string = (ends & ends.wrapping_neg()).wrapping_sub(1) & special;
            let bit = |mask: u64, bit: u8| if mask & string != 0 { bit } else { 0 };
            self.held[(self.found + before) / 2] |=
                bit(marks.commas, COMMAS) | bit(marks.strange, STRANGE) | bit(marks.backslashes, BACKSLASHES);
            special &= !string;
        }
    }
}

/// From every other quote to the one before the next: what is within strings, when the first one begins one.
#[inline(always)]
const fn ends_between(quotes: u64) -> u64 {
    let mut inside = quotes;
    inside ^= inside << 1;
    inside ^= inside << 2;
    inside ^= inside << 4;
    inside ^= inside << 8;
    inside ^= inside << 16;
    inside ^ inside << 32
}

/// The bytes that a backslash stands before which is not escaped itself. Of a run of backslashes every other
/// one escapes; adding up finds the ends of all runs at once, as in <https://arxiv.org/abs/1902.08318>.
#[inline(always)]
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
