//! Keys without the case of their letters: most key fields of Salesforce do not tell upper from lower case, so there
//! `abc` and `ABC` name one record.
//!
//! Letters are folded one by one, whatever stands beside them: a final `ς` is another letter than `σ`, and
//! `ß` than `ss`.
//!
//! <https://help.salesforce.com/s/articleView?id=platform.custom_field_attributes.htm>

use twox_hash::XxHash3_64;

/// Appends the one form that all spellings of a key have.
pub(crate) fn push(out: &mut String, key: &str) {
    if key.is_ascii() {
        let from = out.len();
        out.push_str(key);
        out[from..].make_ascii_lowercase();
    } else {
        out.extend(key.chars().flat_map(char::to_lowercase));
    }
}

/// XXH3-64 of that form. `scratch` is written over.
pub(crate) fn hash(key: &str, scratch: &mut String) -> u64 {
    scratch.clear();
    push(scratch, key);
    XxHash3_64::oneshot(scratch.as_bytes())
}

/// There may be another spelling of the key.
pub(crate) fn has_case(key: &str) -> bool {
    let cased = |letter: char| !letter.to_lowercase().eq([letter]) || !letter.to_uppercase().eq([letter]);
    key.bytes().any(|byte| byte.is_ascii_alphabetic()) || (!key.is_ascii() && key.chars().any(cased))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(key: &str) -> String {
        let mut out = String::new();
        push(&mut out, key);
        out
    }

    #[test]
    fn spellings_fold_letter_by_letter() {
        for (one, other, same) in [
            ("abc-7", "ABC-7", true),
            ("zoë", "ZOË", true),
            ("ǅ", "ǆ", true),
            ("ΟΔΟΣ", "οδοσ", true),
            ("ΟΔΟΣ", "οδος", false),
            ("STRASSE", "straße", false),
            ("abc", "abd", false),
        ] {
            let scratch = &mut String::new();
            assert_eq!(folded(one) == folded(other), same, "{one} {other}");
            assert_eq!(hash(one, scratch) == hash(other, scratch), same, "{one} {other}");
        }
    }

    #[test]
    fn only_a_key_that_has_case_has_another_spelling() {
        for key in ["", "7", "-3.5", "日本", "😀"] {
            assert!(!has_case(key) && folded(key) == key, "{key}");
        }
        for letter in (char::MIN..=char::MAX).map(String::from) {
            let folded = folded(&letter);
            assert!(folded == letter || (has_case(&letter) && has_case(&folded)), "{letter}");
        }
    }
}
