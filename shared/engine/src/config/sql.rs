//! As much SQL as it takes to put the user's query into the statement safely.
//!
//! <https://docs.snowflake.com/en/sql-reference/identifiers-syntax>,
//! <https://docs.snowflake.com/en/sql-reference/data-types-text> (string constants)

/// The name that Snowflake stores for an identifier as a user writes it.
///
/// A plain name is upper-cased, as Snowflake does; a name in double quotes keeps its letters. A name
/// that needs quotes and has none (`Customer Name`) is taken as it is.
pub(crate) fn identifier(written: &str) -> String {
    if is_plain(written) {
        return written.to_ascii_uppercase();
    }
    match unquoted(written) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => written.to_owned(),
    }
}

/// A stored name as an SQL identifier.
pub(super) fn quoted(stored: &str) -> String {
    format!("\"{}\"", stored.replace('"', "\"\""))
}

/// One to three identifiers joined by points.
pub(super) fn is_table_name(written: &str) -> bool {
    let mut parts = 0;
    let mut rest = written;
    loop {
        let Some(end) = identifier_end(rest) else { return false };
        parts += 1;
        match rest[end..].strip_prefix('.') {
            Some(more) => rest = more,
            None => return rest.len() == end && parts <= 3,
        }
    }
}

/// Why a query cannot stand in parentheses; none when it can.
pub(super) fn query_fault(query: &str) -> Option<&'static str> {
    let mut depth = 0_usize;
    let mut first_word = true;
    let mut rest = query;
    while let Some(token) = Token::next(rest) {
        let (text, after) = rest.split_at(token.length());
        match token {
            Token::Open(_) => return Some("a string, a quoted name or a comment is not closed"),
            Token::Blank(_) => {}
            _ if text == ";" => return Some("a query has no semicolon"),
            _ if first_word && !begins_query(text) => return Some("a query begins with `SELECT` or `WITH`"),
            _ => first_word = false,
        }
        depth = match text {
            "(" => depth + 1,
            ")" if depth == 0 => return Some("a parenthesis is closed that was not opened"),
            ")" => depth - 1,
            _ => depth,
        };
        rest = after;
    }
    match (first_word, depth) {
        (true, _) => Some("the query is empty"),
        (_, 0) => None,
        _ => Some("a parenthesis is not closed"),
    }
}

fn begins_query(text: &str) -> bool {
    text == "(" || text.eq_ignore_ascii_case("select") || text.eq_ignore_ascii_case("with")
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$')
}

fn unquoted(written: &str) -> Option<&str> {
    let inner = written.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.is_empty() && identifier_end(written) == Some(written.len())).then_some(inner)
}

/// The end of the identifier that `text` begins with.
fn identifier_end(text: &str) -> Option<usize> {
    if text.starts_with('"') {
        return closed(text, '"', false).filter(|end| *end > 2);
    }
    let end = text.find(['.', '"']).unwrap_or(text.len());
    is_plain(&text[..end]).then_some(end)
}

/// A token with its length in bytes.
enum Token {
    /// White space or a comment.
    Blank(usize),
    /// A word, a string, a quoted name or a sign.
    Solid(usize),
    /// Something that runs to the end of the text unclosed.
    Open(usize),
}

impl Token {
    fn length(&self) -> usize {
        let (Self::Blank(length) | Self::Solid(length) | Self::Open(length)) = self;
        *length
    }

    fn next(text: &str) -> Option<Self> {
        let first = text.chars().next()?;
        let until = |end: Option<usize>| end.map_or(Self::Open(text.len()), Self::Solid);
        Some(match first {
            '\'' => until(closed(text, '\'', true)),
            '"' => until(closed(text, '"', false)),
            '$' if text.starts_with("$$") => until(text[2..].find("$$").map(|end| end + 4)),
            '-' if text.starts_with("--") => Self::line(text),
            '/' if text.starts_with("//") => Self::line(text),
            '/' if text.starts_with("/*") => text
                .find("*/")
                .filter(|end| *end > 1)
                .map_or(Self::Open(text.len()), |end| Self::Blank(end + 2)),
            c if c.is_whitespace() => Self::Blank(c.len_utf8()),
            c if is_word(c) => Self::Solid(text.find(|c| !is_word(c)).unwrap_or(text.len())),
            c => Self::Solid(c.len_utf8()),
        })
    }

    fn line(text: &str) -> Self {
        Self::Blank(text.find('\n').unwrap_or(text.len()))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The end of the quoted text that `text` begins with; a doubled quote stands for itself.
fn closed(text: &str, quote: char, backslash: bool) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if backslash && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_read_as_snowflake_reads_it() {
        for (written, stored) in [
            ("c_custkey", "C_CUSTKEY"),
            ("C_CUSTKEY", "C_CUSTKEY"),
            ("CustKey", "CUSTKEY"),
            ("_a$1", "_A$1"),
            ("\"custKey\"", "custKey"),
            ("\"a\"\"b\"", "a\"b"),
            ("Customer Name", "Customer Name"),
            ("1st", "1st"),
            ("größe", "größe"),
        ] {
            assert_eq!(identifier(written), stored, "{written}");
        }
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_table_name_has_one_to_three_parts() {
        for name in ["T", "db.s.t", "DB.\"my schema\".T", "\"a.b\".\"c\"\"d\""] {
            assert!(is_table_name(name), "{name}");
        }
        for name in
            ["", ".", "a.", ".a", "a.b.c.d", "a b", "a;b", "\"a", "\"\"", "a\"b\"", "(SELECT 1)", "1a"]
        {
            assert!(!is_table_name(name), "{name}");
        }
    }

    #[test]
    fn a_query_that_stands_in_parentheses_has_no_fault() {
        for query in [
            "SELECT 1",
            "  with x as (select ';' as a) select * from x",
            "SELECT '(' || 'it''s' || '\\'' FROM t -- the (last; line",
            "/* ; ( */ SELECT \"a;(\" // ) ;\nFROM t",
            "SELECT $$ ; ( ' $$",
            "(SELECT 1) UNION (SELECT 2)",
            "SELECT 4 / 2 - 1",
        ] {
            assert_eq!(query_fault(query), None, "{query}");
        }
    }

    #[test]
    fn a_query_that_breaks_out_has_a_fault() {
        for (query, word) in [
            ("", "empty"),
            (" -- nothing\n", "empty"),
            ("SELECT 1;", "semicolon"),
            ("SELECT 1; -- done", "semicolon"),
            ("SELECT 1) x; DROP TABLE t", "not opened"),
            ("SELECT (1", "not closed"),
            ("SELECT 'a", "not closed"),
            ("SELECT \"a", "not closed"),
            ("SELECT 1 /* a", "not closed"),
            ("SELECT 1 /*/", "not closed"),
            ("DELETE FROM t", "begins"),
            ("selection", "begins"),
        ] {
            assert!(
                query_fault(query).is_some_and(|fault| fault.contains(word)),
                "{query}: {:?}",
                query_fault(query)
            );
        }
    }
}
