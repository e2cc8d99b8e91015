//! Which addresses may be called, and how they are named in messages.

use std::fmt;

use engine::Failure;
use reqwest::Method;
use url::{Host, Url};

/// Reads the base address of a vendor from a secret or an answer. `name` says where it was read.
///
/// # Errors
/// `Configuration` if it is no URL, names a user or a query, or is plain `http` to another machine.
pub fn base_url(name: &str, text: &str) -> Result<Url, Failure> {
    let hint = "write it as `https://host`, without a user, a query or a fragment";
    let bad = |what: &str| Failure::configuration(format!("`{name}` {what}")).hint(hint);
    let url = Url::parse(text.trim()).map_err(|_| bad("is not a URL"))?;
    if url.cannot_be_a_base() || url.host().is_none() {
        return Err(bad("names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("names a user"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("has a query or a fragment"));
    }
    permitted(&url).map_err(|failure| failure.at(format_args!("`{name}`")))?;
    Ok(url)
}

/// Lets through `https` to anywhere and `http` to this machine: tokens never travel in the clear.
pub(crate) fn permitted(url: &Url) -> Result<(), Failure> {
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => Err(Failure::configuration(format!(
            "`{}://{}` would send credentials in the clear",
            url.scheme(),
            authority(url)
        ))
        .hint("use `https`; plain `http` is for an emulator on this machine only")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Host and port as they were written.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Method, host and path of a request: everything a message may say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn new(method: &Method, url: &Url) -> Self {
        Self(format!("`{method} {}{}`", authority(url), url.path()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::Class;

    #[test]
    fn only_https_or_this_machine() {
        let allowed =
            ["https://acme.example", "http://127.0.0.1:9", "http://localhost:1/x", "http://[::1]:80"];
        for text in allowed {
            assert!(base_url("host", text).is_ok(), "{text}");
        }
        let refused = [
            "http://acme.example",
            "http://localhost.example",
            "ftp://localhost",
            "acme",
            "",
            "https://user:pw@acme.example",
            "https://acme.example?x=1",
            "http://10.0.0.1",
            "data:text",
        ];
        for text in refused {
            let failure = base_url("host", text).unwrap_err();
            assert_eq!(failure.class, Class::Configuration, "{text}");
            assert!(failure.message.contains("`host`") && !failure.message.contains("pw"), "{failure}");
        }
    }

    #[test]
    fn a_place_shows_no_query() {
        let url = Url::parse("http://localhost:81/a/b?token=x#y").unwrap();
        assert_eq!(Place::new(&Method::GET, &url).to_string(), "`GET localhost:81/a/b`");
    }
}
