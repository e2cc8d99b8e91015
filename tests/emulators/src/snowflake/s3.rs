//! As much of S3 as COPY INTO needs, against the endpoint of an S3 stand-in.
//!
//! Requests are HTTP/1.0 over a plain socket, so that an answer ends where the connection ends. The credentials are
//! invented: no stand-in checks them, but some refuse a request that has none.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// The storage integration that COPY INTO goes through.
#[derive(Clone, Debug)]
pub struct StorageIntegration {
    /// Its name.
    pub name: String,
    /// Where S3 answers, `http://host:port`; buckets are the first part of the path.
    pub endpoint: String,
}

/// An object that was found under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: String,
    /// What S3 says the content is known by.
    pub(crate) tag: String,
}

/// A bucket and a key or prefix in it, written `s3://bucket/key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl Location {
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let (bucket, key) = url.strip_prefix("s3://")?.split_once('/')?;
        Some(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }

    pub(crate) fn with_key(&self, key: String) -> Self {
        Self { key, ..self.clone() }
    }

    pub(crate) fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

impl StorageIntegration {
    pub(crate) fn put(&self, at: &Location, body: &[u8]) -> io::Result<()> {
        self.request("PUT", &path(at), body).map(drop)
    }

    pub(crate) fn get(&self, at: &Location) -> io::Result<Vec<u8>> {
        self.request("GET", &path(at), &[])
    }

    /// The objects whose keys begin with the location's, in the order of their keys.
    pub(crate) fn list(&self, at: &Location) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!(
                "/{}?list-type=2&prefix={}&start-after={}",
                at.bucket,
                escaped(&at.key, false),
                escaped(&after, false)
            );
            let body = self.request("GET", &path, &[])?;
            let page = String::from_utf8_lossy(&body).into_owned();
            let objects = page.split("<Contents>").skip(1);
            found.extend(objects.filter_map(|object| {
                Some(Found { key: element(object, "Key")?, tag: element(object, "ETag")? })
            }));
            match found.last() {
                Some(last) if page.contains("<IsTruncated>true<") => after.clone_from(&last.key),
                _ => return Ok(found),
            }
        }
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        let host = self.endpoint.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(host)?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\ncontent-length: {}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=stand-in/20260101/us-east-1/s3/aws4_request\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        content(&answer).ok_or_else(|| {
            let line =
                String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default());
            io::Error::other(format!("{method} {path}: {line}"))
        })
    }
}

/// The body of an answer whose status is 2xx.
fn content(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = answer.split(|byte| *byte == b' ').nth(1)?;
    status.starts_with(b"2").then(|| answer[end + 4..].to_vec())
}

fn path(at: &Location) -> String {
    format!("/{}/{}", at.bucket, escaped(&at.key, true))
}

fn escaped(text: &str, slashes: bool) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes && byte == b'/');
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}
