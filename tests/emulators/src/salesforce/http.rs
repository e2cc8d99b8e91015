//! Requests as the handlers see them, and the answers they give.

use std::io::{Read, Write};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// A request whose body has arrived.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    /// The decoded parts of the path, without empty ones.
    pub(crate) path: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Incoming {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn accepts_gzip(&self) -> bool {
        self.header("accept-encoding").is_some_and(|codings| codings.contains("gzip"))
    }

    /// The body, unpacked if it says that it is packed: section "Use Compression" of the REST API guide.
    pub(crate) fn plain_body(&self) -> Result<Bytes, Response> {
        let coding = self.header("content-encoding").unwrap_or_default().to_ascii_lowercase();
        let mut plain = Vec::new();
        let unpacked = match coding.as_str() {
            "gzip" | "x-gzip" => MultiGzDecoder::new(&self.body[..]).read_to_end(&mut plain),
            "deflate" => ZlibDecoder::new(&self.body[..]).read_to_end(&mut plain),
            "" | "identity" => return Ok(self.body.clone()),
            _ => return Err(error(415, "UNSUPPORTED_MEDIA_TYPE", "This Content-Encoding is not supported")),
        };
        let broken = |_| error(400, "JSON_PARSER_ERROR", "The request body cannot be unpacked");
        unpacked.map(|_| Bytes::from(plain)).map_err(broken)
    }

    /// The body as JSON.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Response> {
        let body = self.plain_body()?;
        serde_json::from_slice(&body).map_err(|cause| error(400, "JSON_PARSER_ERROR", &cause.to_string()))
    }
}

/// The parts of a path, decoded; doubled and trailing slashes do not count.
pub(crate) fn path_parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(|part| decoded(part, false)).collect()
}

/// The pairs of a query string or a form.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let split = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name, true), decoded(value, true))
    };
    pairs.map(split).collect()
}

fn decoded(text: &str, plus_is_space: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) if plus_is_space => bytes.push(b' '),
            _ => bytes.push(*first),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer with a JSON body.
pub(crate) fn json_reply(status: u16, body: &Value) -> Response {
    text_reply(status, "application/json;charset=UTF-8", body.to_string())
}

/// An answer with any text.
pub(crate) fn text_reply(status: u16, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("handlers name valid statuses");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer without a body.
pub(crate) fn empty_reply(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).expect("handlers name valid statuses");
    response
}

/// The code of an answer that [`error`] made.
#[derive(Clone, Debug)]
struct Code(String);

/// The array body in which the platform reports what is wrong with a request.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    let mut response = json_reply(status, &json!([{"message": message, "errorCode": code}]));
    response.extensions_mut().insert(Code(code.to_owned()));
    response
}

/// The answer with its message, if it is an [`error`], in another language than English.
pub(crate) fn translated(response: Response) -> Response {
    let Some(Code(code)) = response.extensions().get::<Code>() else { return response };
    let body = json!([{"message": "要求を処理できませんでした", "errorCode": code}]).to_string();
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::from(body))
}

pub(crate) fn not_found() -> Response {
    error(404, "NOT_FOUND", "The requested resource does not exist")
}

pub(crate) fn method_not_allowed(method: &str) -> Response {
    let message = format!("HTTP Method '{method}' not allowed. Allowed are GET,POST,PATCH,DELETE");
    error(405, "METHOD_NOT_ALLOWED", &message)
}

/// Text that goes out piece by piece: packed if wanted, and never whole in memory.
pub(crate) fn streamed(pieces: impl Iterator<Item = Vec<u8>> + Send + 'static, gzip: bool) -> Response {
    let body = if gzip { from_iterator(Packed::new(pieces)) } else { from_iterator(pieces) };
    let mut response = text_reply(200, "text/csv; charset=UTF-8", body);
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn from_iterator(pieces: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Body {
    let pieces = pieces.map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// Compresses pieces as they pass.
struct Packed<I> {
    pieces: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I> Packed<I> {
    fn new(pieces: I) -> Self {
        Self { pieces, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Packed<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let encoder = self.encoder.as_mut()?;
        for piece in self.pieces.by_ref() {
            encoder.write_all(&piece).expect("memory takes every write");
            if encoder.get_ref().len() > 16_384 {
                return Some(std::mem::take(encoder.get_mut()));
            }
        }
        self.encoder.take()?.finish().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_forms_are_decoded() {
        assert_eq!(path_parts("//services/data//v66.0/a%2Fb+c/"), ["services", "data", "v66.0", "a/b+c"]);
        assert_eq!(
            pairs("q=SELECT+Id%20x&y"),
            [("q".into(), "SELECT Id x".into()), ("y".into(), String::new())]
        );
    }
}
