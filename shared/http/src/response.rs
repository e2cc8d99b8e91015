//! The head of an answer and its body.

use bytes::Bytes;
use engine::Failure;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;

use crate::address::Place;
use crate::body::Body;

/// Most bytes of a document that is read as a whole.
const LONGEST_DOCUMENT: usize = 64 << 20;

/// Most bytes of an error that are read.
const LONGEST_ERROR: usize = 64 << 10;

/// An answer, whatever its status. Its `Debug` shows the request and the status only.
pub struct Response {
    status: u16,
    headers: HeaderMap,
    body: Body,
    place: Place,
}

impl Response {
    pub(crate) fn new(status: u16, headers: HeaderMap, body: Body, place: Place) -> Self {
        Self { status, headers, body, place }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Method, host and path of the request, in backticks, for messages.
    #[must_use]
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// The body as it is sent, still packed if the vendor packed it.
    #[must_use]
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The body as JSON. What it holds is never part of an error.
    ///
    /// # Errors
    /// `Transient` if it breaks off or is something else, such as the page of a proxy.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let bytes = self.body.bytes(LONGEST_DOCUMENT).await.map_err(|failure| failure.at(&self.place))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::transient(format!(
                "{}: status {} came without the documented JSON ({:?} error in line {}, column {})",
                self.place,
                self.status,
                error.classify(),
                error.line(),
                error.column()
            ))
        })
    }

    /// The first 64 KiB of a body that tells an error. It may be anything: JSON, HTML, nothing.
    pub async fn error_body(self) -> Bytes {
        self.body.beginning(LONGEST_ERROR).await
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("place", &self.place.to_string())
            .field("status", &self.status)
            .finish()
    }
}
