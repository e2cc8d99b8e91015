//! Record and job ids: 15 characters of base 62 and a suffix that survives case folding.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SUFFIX: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
/// The part of every id that names the instance and the reserved character.
const INSTANCE: &str = "5e0";

/// The 18-character id number `ordinal` under a three-character prefix.
pub(crate) fn id(prefix: &str, ordinal: u64) -> String {
    let mut counter = [b'0'; 9];
    let mut rest = ordinal;
    for digit in counter.iter_mut().rev() {
        *digit = BASE62[usize::try_from(rest % 62).expect("a remainder of 62 fits")];
        rest /= 62;
    }
    let counter = std::str::from_utf8(&counter).expect("base 62 is ASCII");
    with_suffix(&format!("{prefix}{INSTANCE}{counter}"))
}

/// Appends the three characters in which each bit says whether one character is upper-case.
fn with_suffix(fifteen: &str) -> String {
    let mut whole = fifteen.to_owned();
    for group in fifteen.as_bytes().chunks(5) {
        let bits = group.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
        let value: usize = bits.map(|(place, _)| 1 << place).sum();
        whole.push(char::from(SUFFIX[value]));
    }
    whole
}

/// The ordinal in a well-formed id of 15 or 18 characters with this prefix.
pub(crate) fn ordinal(prefix: &str, text: &str) -> Option<u64> {
    if !well_formed(text) || !text.starts_with(prefix) {
        return None;
    }
    let counter = text[3..15].strip_prefix(INSTANCE)?;
    counter.bytes().try_fold(0_u64, |sum, byte| {
        let digit = BASE62.iter().position(|known| *known == byte)?;
        sum.checked_mul(62)?.checked_add(u64::try_from(digit).ok()?)
    })
}

/// Whether a text has the shape of an id: 15 letters and digits, or 18 with the right suffix.
pub(crate) fn well_formed(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain && (text.len() == 15 || (text.len() == 18 && with_suffix(&text[..15]) == text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_follow_the_published_rule() {
        assert_eq!(with_suffix("00D000000000062"), "00D000000000062EAA");
        assert_eq!(with_suffix("001aBcDeFgHiJkL"), "001aBcDeFgHiJkLQKV");
    }

    #[test]
    fn ordinals_come_back() {
        for n in [0, 1, 61, 62, 1_000_000, 13_537_086_546_263_551] {
            let text = id("001", n);
            assert_eq!(text.len(), 18);
            assert_eq!(ordinal("001", &text), Some(n));
            assert_eq!(ordinal("001", &text[..15]), Some(n));
            assert_eq!(ordinal("003", &text), None);
        }
        assert!(!well_formed("0015e00000000zZAAA"));
        assert!(!well_formed("001"));
    }
}
