//! Bodies in several parts, as `multipart/form-data` packs them: enough for a job that is made with its data.

/// One part of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    /// The name of the form's field.
    pub(crate) name: &'a str,
    pub(crate) body: &'a [u8],
}

/// Whether a content type announces parts.
pub(crate) fn is_multipart(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// The parts of a body; `None` if it does not keep to the form (RFC 7578).
pub(crate) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("--{}", boundary(content_type)?);
    let inner = format!("\r\n{delimiter}");
    let mut parts = Vec::new();
    let mut rest = &body[find(body, delimiter.as_bytes())? + delimiter.len()..];
    while !rest.starts_with(b"--") {
        let end = find(rest, inner.as_bytes())?;
        parts.push(part(rest[..end].strip_prefix(b"\r\n")?)?);
        rest = &rest[end + inner.len()..];
    }
    Some(parts)
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, boundary) = content_type.split_once("boundary=")?;
    let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches('"');
    (!boundary.is_empty()).then_some(boundary)
}

fn part(text: &[u8]) -> Option<Part<'_>> {
    let end = find(text, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&text[..end]).ok()?;
    let disposition =
        head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition"))?;
    // The space keeps `filename=` out.
    let (_, name) = disposition.split_once(" name=")?;
    let name = name.split(';').next().unwrap_or_default().trim().trim_matches('"');
    Some(Part { name, body: &text[end + 4..] })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_as_they_are() {
        let kind = "multipart/form-data; boundary=\"b-1\"";
        let body = b"--b-1\r\nContent-Type: application/json\r\nContent-Disposition: form-data; name=\"job\"\r\n\r\n{}\r\n\
            --b-1\r\nContent-Disposition: form-data; filename=\"content\"; name=\"content\"\r\n\r\na\r\n--b\r\n\r\n--b-1--\r\n";
        let expected = [Part { name: "job", body: b"{}" }, Part { name: "content", body: b"a\r\n--b\r\n" }];
        assert_eq!(parts(kind, body).unwrap(), expected);
        assert!(is_multipart(Some(kind)) && !is_multipart(Some("application/json")) && !is_multipart(None));
    }

    #[test]
    fn what_is_cut_off_is_no_form() {
        assert_eq!(parts("multipart/form-data", b"--b--"), None);
        assert_eq!(parts("multipart/form-data; boundary=b", b"--b\r\n\r\nx"), None);
        assert_eq!(parts("multipart/form-data; boundary=b", b"--b--"), Some(Vec::new()));
    }
}
