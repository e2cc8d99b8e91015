//! A request and its properties.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use engine::Failure;
use futures_util::stream::{Peekable, Stream, StreamExt};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::Url;

use crate::address::Place;

/// Whether a request may reach the vendor more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Sending it again does no harm: it is retried.
    Idempotent,
    /// It is sent once; an ambiguous end is the caller's to resolve.
    Once,
}

/// A request to a vendor. Its `Debug` shows method, host and path only.
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) second_url: Option<Url>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) repeat: Repeat,
    pub(crate) answers: Vec<u16>,
    pub(crate) silence: Duration,
}

pub(crate) enum Payload {
    None,
    Bytes(Bytes),
    Stream(Option<reqwest::Body>),
}

impl Request {
    /// A request without a body that may be repeated and waits a minute for each sign of life.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            second_url: None,
            headers: HeaderMap::new(),
            payload: Payload::None,
            repeat: Repeat::Idempotent,
            answers: Vec::new(),
            silence: Duration::from_secs(60),
        }
    }

    /// Whether it may be sent twice.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// The address from the second try on, for a vendor that wants to be told of a resubmission.
    #[must_use]
    pub fn second_url(mut self, url: Url) -> Self {
        self.second_url = Some(url);
        self
    }

    /// A status that is an answer even though it usually asks for another try.
    #[must_use]
    pub fn accept_status(mut self, status: u16) -> Self {
        self.answers.push(status);
        self
    }

    /// How long the vendor may stay silent: until the head of the answer, then between two chunks.
    #[must_use]
    pub fn silence(mut self, most: Duration) -> Self {
        self.silence = most;
        self
    }

    /// With a header whose value is known to be valid.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// With `Authorization: Bearer`.
    ///
    /// # Errors
    /// `Configuration` if the token cannot stand in a header.
    pub fn bearer(mut self, token: &SecretString) -> Result<Self, Failure> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())).map_err(|_| {
                Failure::configuration("the access token holds characters that no header can carry")
            })?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    /// With a JSON body.
    ///
    /// # Errors
    /// `Bug` if the value has no JSON form.
    pub fn json<T: Serialize>(self, value: &T) -> Result<Self, Failure> {
        let bytes = serde_json::to_vec(value)
            .map_err(|_| Failure::bug(format!("{}: the body has no JSON form", self.place())))?;
        Ok(self.json_bytes(bytes.into()))
    }

    /// With a body that is JSON already.
    #[must_use]
    pub fn json_bytes(mut self, json: Bytes) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.payload = Payload::Bytes(json);
        self
    }

    /// With pairs in the query of the address.
    #[must_use]
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        self.url.query_pairs_mut().extend_pairs(pairs);
        self
    }

    /// Bytes of the address.
    #[must_use]
    pub fn address_len(&self) -> usize {
        self.url.as_str().len()
    }

    /// With a form as body (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form(mut self, pairs: &[(&str, &str)]) -> Self {
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        self.payload = Payload::Bytes(text.into());
        self
    }

    /// With a streamed body of exactly `length` bytes. Such a request is sent once.
    ///
    /// A stream that ends early or goes on breaks the request off before the vendor can take it for whole.
    #[must_use]
    pub fn stream<S>(mut self, length: u64, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, Failure>> + Send + 'static,
    {
        let body = reqwest::Body::wrap_stream(exactly(length, self.place(), stream));
        self.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        self.payload = Payload::Stream(Some(body));
        self.repeat = Repeat::Once;
        self
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(&self.method, &self.url)
    }

    /// The request for one try, counted from one.
    pub(crate) fn for_try(&mut self, number: usize) -> reqwest::Request {
        let url = if number > 1 { self.second_url.as_ref() } else { None };
        let mut request = reqwest::Request::new(self.method.clone(), url.unwrap_or(&self.url).clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = match &mut self.payload {
            Payload::None => None,
            Payload::Bytes(bytes) => Some(bytes.clone().into()),
            Payload::Stream(body) => body.take(),
        };
        request
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Request").field(&self.place().to_string()).finish()
    }
}

struct Exactly<S: Stream> {
    chunks: Pin<Box<Peekable<S>>>,
    left: u64,
    place: Place,
}

/// Passes a stream on if it is as long as was said. A chunk is held back until the next one (or the end)
/// has been seen: once the announced bytes are out, nobody asks the stream for more.
fn exactly<S>(length: u64, place: Place, stream: S) -> impl Stream<Item = Result<Bytes, Failure>> + Send
where
    S: Stream<Item = Result<Bytes, Failure>> + Send,
{
    let filled = stream.filter(|chunk| std::future::ready(!matches!(chunk, Ok(bytes) if bytes.is_empty())));
    let state = Exactly { chunks: Box::pin(filled.peekable()), left: length, place };
    futures_util::stream::try_unfold(state, next_exact)
}

async fn next_exact<S>(mut state: Exactly<S>) -> Result<Option<(Bytes, Exactly<S>)>, Failure>
where
    S: Stream<Item = Result<Bytes, Failure>>,
{
    let Some(chunk) = state.chunks.next().await.transpose()? else {
        return if state.left == 0 { Ok(None) } else { Err(misjudged(&state.place, "ended early")) };
    };
    let size = chunk.len() as u64;
    let goes_on = state.chunks.as_mut().peek().await.is_some();
    if size > state.left || (size == state.left && goes_on) {
        return Err(misjudged(&state.place, "is longer than was said"));
    }
    state.left -= size;
    Ok(Some((chunk, state)))
}

fn misjudged(place: &Place, what: &str) -> Failure {
    Failure::bug(format!("{place}: the body {what}"))
}
