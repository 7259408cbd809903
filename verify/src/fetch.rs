//! Key sets and status lists over HTTP, from where they may be fetched and nowhere else.
//!
//! SECURITY: an address that somebody configured, or that a token names, must not become a way into the network that
//! this program runs in. So: https, one answer without redirects, every address that a name resolves to looked at
//! before it is connected to, bounded time and length, no proxy that would resolve the name anew.

use crate::address::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use reqwest::{Client, StatusCode, Url};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far fetching may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Public addresses, by https.
    #[default]
    Public,
    /// These, and this machine itself, there by http too.
    Loopback,
    /// These, and private networks by https.
    Private,
}

impl Reach {
    fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let private = match address {
            IpAddr::V4(v4) => v4.is_private(),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        is_public(address) || (self != Self::Public && address.is_loopback()) || (self == Self::Private && private)
    }
}

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The address is none that may be fetched from.
    #[error("`{url}` may not be fetched: {why}")]
    Address {
        /// What was asked for, without credentials or query.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No answer, or not the one that was asked for.
    #[error("`{url}` {why}")]
    Answer {
        /// What was asked for, without credentials or query.
        url: String,
        /// What happened.
        why: &'static str,
    },
}

impl FetchError {
    /// What is wrong, without the address.
    #[must_use]
    pub fn why(&self) -> &'static str {
        let (Self::Address { why, .. } | Self::Answer { why, .. }) = self;
        why
    }
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The body.
    pub body: Vec<u8>,
    /// `max-age` of its `Cache-Control`, in seconds.
    pub max_age_secs: Option<i64>,
}

/// Fetches within its reach.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    reach: Reach,
}

impl Fetcher {
    /// A fetcher of some reach.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(reach: Reach) -> Result<Self, FetchError> {
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Guard(reach)))
            .build()
            .map_err(|_| FetchError::Answer { url: String::new(), why: "cannot be asked: no tls" })?;
        Ok(Self { client, reach })
    }

    /// Fetches at most `most` bytes.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn get(&self, url: &str, accept: &'static str, most: usize) -> Result<Fetched, FetchError> {
        let url = self.check(url)?;
        let shown = shown(&url);
        let failed = |why| FetchError::Answer { url: shown.clone(), why };
        let request = self.client.get(url).header(ACCEPT, accept);
        let mut answer = request.send().await.map_err(|error| failed(unanswered(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(failed(if answer.status().is_redirection() { "redirects" } else { "has no answer of 200" }));
        }
        let max_age_secs = answer.headers().get(CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(unanswered(&error)))? {
            if body.len() + chunk.len() > most {
                return Err(failed("is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body, max_age_secs })
    }

    /// Sends JSON, with one header; the answer's status and at most `most` bytes of it.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn post(
        &self,
        url: &str,
        (name, value): (&'static str, &str),
        body: String,
        most: usize,
    ) -> Result<(u16, Vec<u8>), FetchError> {
        let url = self.check(url)?;
        let failed = {
            let shown = shown(&url);
            move |why| FetchError::Answer { url: shown.clone(), why }
        };
        let request = self.client.post(url).header(name, value).header(CONTENT_TYPE, "application/json").body(body);
        let mut answer = request.send().await.map_err(|error| failed(unanswered(&error)))?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(unanswered(&error)))? {
            if body.len() + chunk.len() > most {
                return Err(failed("is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((answer.status().as_u16(), body))
    }

    /// Reads an address that may be fetched from, as far as that can be told before its name is resolved.
    ///
    /// # Errors
    /// [`FetchError::Address`].
    pub fn check(&self, text: &str) -> Result<Url, FetchError> {
        let url = Url::parse(text).map_err(|_| FetchError::Address { url: String::new(), why: "it is no url" })?;
        let refused = |why| Err(FetchError::Address { url: shown(&url), why });
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return refused("it carries credentials or a fragment");
        }
        // SECURITY: what else listens on low ports does not speak http.
        if url.port().is_some_and(|port| port < 1024) {
            return refused("it must be on port 443 or above 1023");
        }
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let loopback = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback && self.reach != Reach::Public => {}
            _ => return refused("only https is allowed, and http on loopback where loopback is"),
        }
        // A name is judged by what it resolves to; a literal address is never resolved.
        if literal.is_some_and(|address| !self.reach.allows(address)) {
            return refused("the address is not a public one");
        }
        Ok(url)
    }
}

/// Gives a name's addresses only if every one of them may be reached.
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            // SECURITY: one of several would do for whoever mixes an inner address among outer ones.
            if found.iter().all(|address| reach.allows(address.ip())) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(Box::from(NOT_PUBLIC))
            }
        })
    }
}

const NOT_PUBLIC: &str = "the name resolves to an address that is not public";

fn unanswered(error: &reqwest::Error) -> &'static str {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string() == NOT_PUBLIC {
            return "resolves to an address that is not public";
        }
        cause = error.source();
    }
    if error.is_timeout() { "is too slow" } else { "cannot be reached" }
}

/// Scheme, host, port and path: what may stand in a log.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // It fails only for URLs that cannot carry any.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.into()
}

fn max_age(cache_control: &str) -> Option<i64> {
    cache_control.split(',').find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("max-age").then(|| value.trim_matches('"').parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(reach: Reach, url: &str) -> Option<&'static str> {
        Fetcher::new(reach).unwrap().check(url).err().map(|error| error.why())
    }

    #[test]
    fn addresses_within_the_network_are_refused_before_anything_is_sent() {
        for url in [
            "http://eligibility.example/",
            "ftp://eligibility.example/",
            "file:///etc/passwd",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/",
            "https://user:secret@eligibility.example/",
            "https://0.0.0.0/",
            "http://127.0.0.1:8080/",
            "https://eligibility.example:22/",
            "https://eligibility.example/#a",
            "data:,x",
            "not a url",
            "",
        ] {
            assert!(why(Reach::Public, url).is_some(), "{url}");
        }
        assert_eq!(why(Reach::Public, "https://eligibility.example/.well-known/jwks.json"), None);
        for url in ["http://127.0.0.1:8080/x", "http://localhost:8080/x", "http://[::1]:8080/x"] {
            assert_eq!(why(Reach::Loopback, url), None, "{url}");
        }
        for url in ["http://10.0.0.1/", "https://10.0.0.1/", "http://eligibility.example/", "https://169.254.169.254/"]
        {
            assert!(why(Reach::Loopback, url).is_some(), "{url}");
        }
        assert_eq!(why(Reach::Private, "https://10.0.0.1/"), None);
        assert!(why(Reach::Private, "http://10.0.0.1/").is_some());
        assert!(why(Reach::Private, "https://169.254.169.254/").is_some());
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_not_connected_to() {
        let found = Fetcher::new(Reach::Public).unwrap().get("https://localhost:10443/x", "*/*", 10).await;
        let error = found.unwrap_err().to_string();
        assert_eq!(error, "`https://localhost:10443/x` resolves to an address that is not public");
    }

    #[test]
    fn max_age_reads() {
        for (text, wanted) in [
            ("public, max-age=300", Some(300)),
            ("MAX-AGE=0", Some(0)),
            ("max-age=\"60\"", Some(60)),
            ("no-store", None),
            ("s-maxage=5", None),
            ("max-age=x", None),
            ("", None),
        ] {
            assert_eq!(max_age(text), wanted, "{text}");
        }
    }
}
