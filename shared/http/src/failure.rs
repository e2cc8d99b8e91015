//! How trouble on the wire becomes a [`Failure`].

use std::error::Error;
use std::io;

use engine::{Class, Failure};

use crate::address::Place;

/// The class of an HTTP status when the answer carries no code that says more.
#[must_use]
pub const fn class_of_status(status: u16) -> Class {
    match status {
        420 | 429 | 500..=521 | 523..=599 => Class::Transient,
        405 | 414 | 415 | 431 => Class::Bug,
        _ => Class::Configuration,
    }
}

/// The failure inside an I/O error of a [`crate::BlockingBody`]; any other I/O error is `Transient`.
#[must_use]
pub fn from_io(error: io::Error) -> Failure {
    match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => Failure::transient(format!("reading or writing a stream failed: {error}")),
    }
}

/// A request that got no answer.
pub(crate) fn unanswered(place: &Place, error: reqwest::Error) -> Failure {
    let connecting = error.is_connect();
    let error = error.without_url();
    if let Some(failure) = find::<Failure>(&error) {
        return failure.clone();
    }
    if let Some(rustls::Error::InvalidCertificate(reason)) = find::<rustls::Error>(&error) {
        return Failure::configuration(format!(
            "{place}: the certificate of the host is refused: {reason:?}"
        ))
        .hint(
            "behind a proxy that inspects TLS, or with a private emulator, put its CA into a PEM file and \
             name it in SSL_CERT_FILE",
        );
    }
    let failure = Failure::transient(format!("{place}: no answer: {}", innermost(&error)));
    if connecting {
        failure.hint("check the host in the secret, and that the network lets it through")
    } else {
        failure
    }
}

/// An answer that broke off.
pub(crate) fn broken_off(place: &Place, error: &(dyn Error + 'static)) -> Failure {
    Failure::transient(format!("{place}: the answer broke off: {}", innermost(error)))
}

/// The last cause alone: the ones before it only repeat that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = cause(last) {
        last = next;
    }
    last.to_string()
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = cause(error);
    }
    None
}

/// The next error of the chain. An `io::Error` hides the error it wraps from `source`.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_statuses() {
        for (status, class) in [
            (301, Class::Configuration),
            (400, Class::Configuration),
            (403, Class::Configuration),
            (405, Class::Bug),
            (420, Class::Transient),
            (429, Class::Transient),
            (503, Class::Transient),
            (522, Class::Configuration),
        ] {
            assert_eq!(class_of_status(status), class, "{status}");
        }
    }

    #[test]
    fn a_failure_survives_an_io_error() {
        let failure = Failure::quota("`x`: used up");
        assert_eq!(from_io(io::Error::other(failure.clone())), failure);
        assert_eq!(from_io(io::Error::from(io::ErrorKind::NotFound)).class, Class::Transient);
    }
}
