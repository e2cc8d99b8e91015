//! The order of keys: that of their bytes.

use std::cmp::Ordering;

/// The order of two keys. Most have some bytes more than a word and are as long as the one before, so two words decide:
/// that costs less than a call.
#[inline]
pub(crate) fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let common = a.len().min(b.len());
    let Some(last) = common.checked_sub(WORD) else { return a.cmp(b) };
    // The last word overlaps the one before it, of which is known by then that it is equal.
    let mut at = 0;
    while at < last && word(a, at) == word(b, at) {
        at += WORD;
    }
    let at = at.min(last);
    word(a, at).cmp(&word(b, at)).then(a.len().cmp(&b.len()))
}

/// How many bytes both begin with.
pub(crate) fn shared(a: &[u8], b: &[u8]) -> usize {
    let common = a.len().min(b.len());
    let mut at = 0;
    while at + WORD <= common {
        let differing = word(a, at) ^ word(b, at);
        if differing != 0 {
            return at + differing.leading_zeros() as usize / 8;
        }
        at += WORD;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}

const WORD: usize = size_of::<u64>();

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_bytes(
            before in prop::collection::vec(any::<u8>(), 0..40),
            ends in [prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..20)],
        ) {
            let [a, b] = ends.map(|end| [before.as_slice(), &end].concat());
            prop_assert_eq!(compare(&a, &b), a.cmp(&b));
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(shared(&a, &b), a.iter().zip(&b).take_while(|(a, b)| a == b).count());
        }
    }
}
