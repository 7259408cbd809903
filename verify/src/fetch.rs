//! Key sets, status lists and messages over HTTP, from and to where that may be and nowhere else.
//!
//! SECURITY: an address that somebody configured, or that a token names, must not become a way into the network that
//! this program runs in. So: https, one answer without redirects, every address that a name resolves to looked at
//! before it is connected to, bounded time and length, no proxy that would resolve the name anew. A name is resolved once
//! for each connection, and the connection goes to what was looked at.

use crate::address::is_public;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
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

/// Which ports may be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ports {
    /// 443, and those above 1023.
    #[default]
    Usual,
    /// 443, these, and on this machine those above 1023.
    Only(Vec<u16>),
}

impl Ports {
    fn allow(&self, port: Option<u16>, loopback: bool) -> bool {
        // SECURITY: what else listens on low ports does not speak http.
        match (self, port) {
            (_, None) => true,
            (Self::Only(ports), Some(port)) if !loopback => ports.contains(&port),
            (Self::Only(ports), Some(port)) => port > 1023 || ports.contains(&port),
            (Self::Usual, Some(port)) => port > 1023,
        }
    }
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

/// The answer to something that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// `Retry-After`, as written.
    pub retry_after: Option<String>,
}

/// Most bytes of a reply that are read, so that the connection can be used again.
const REPLY_READ: usize = 64 * 1024;
/// How long they are waited for.
const REPLY_PATIENCE: Duration = Duration::from_secs(1);

/// Fetches within its reach.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    reach: Reach,
    ports: Ports,
}

impl Fetcher {
    /// A fetcher of some reach.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(reach: Reach) -> Result<Self, FetchError> {
        Self::with(reach, Ports::Usual, PATIENCE, Arc::new(System))
    }

    /// A fetcher of some reach, to some ports, that waits so long for an answer and has names resolved by `names`, whose
    /// every answer is looked at.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn with(reach: Reach, ports: Ports, patience: Duration, names: Arc<dyn Resolve>) -> Result<Self, FetchError> {
        let client = Client::builder()
            .timeout(patience)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Guard { reach, names }))
            .build()
            .map_err(|_| FetchError::Answer { url: String::new(), why: "cannot be asked: no tls" })?;
        Ok(Self { client, reach, ports })
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

    /// Sends JSON with headers. Of the reply only status and `Retry-After` count.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn send(&self, url: &str, headers: &[(&'static str, &str)], body: String) -> Result<Reply, FetchError> {
        Ok(self.send_as("application/json", url, headers, body).await?.0)
    }

    /// Sends a body of this type with headers; the reply, and what came of its body in time and within bounds.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn send_as(
        &self,
        kind: &'static str,
        url: &str,
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<(Reply, Vec<u8>), FetchError> {
        let url = self.check(url)?;
        let shown = shown(&url);
        let mut request = self.client.post(url).header(CONTENT_TYPE, kind).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await;
        let mut answer = answer.map_err(|error| FetchError::Answer { url: shown, why: unanswered(&error) })?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let reply = Reply { status: answer.status().as_u16(), retry_after };
        let mut read = Vec::new();
        let rest = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                if read.len() + chunk.len() > REPLY_READ {
                    break;
                }
                read.extend_from_slice(&chunk);
            }
        };
        // Whatever becomes of the rest, the receiver has answered.
        let _ = tokio::time::timeout(REPLY_PATIENCE, rest).await;
        Ok((reply, read))
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
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let loopback = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
        if !self.ports.allow(url.port(), loopback && self.reach != Reach::Public) {
            return refused(match self.ports {
                Ports::Usual => "it must be on port 443 or above 1023",
                Ports::Only(_) => "it must be on port 443, or on another that is configured",
            });
        }
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

/// Names as this machine resolves them.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Gives a name's addresses only if every one of them may be reached.
struct Guard {
    reach: Reach,
    names: Arc<dyn Resolve>,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, found) = (self.reach, self.names.resolve(name));
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.collect();
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

    /// Of port and reach, what may be connected to.
    #[test]
    fn only_the_ports_that_are_allowed_are_connected_to() {
        let may = |reach, ports: &[u16], url: &str| {
            let ports = Ports::Only(ports.to_vec());
            Fetcher::with(reach, ports, PATIENCE, Arc::new(System)).unwrap().check(url).is_ok()
        };
        assert!(may(Reach::Public, &[], "https://a.example/x") && may(Reach::Public, &[], "https://a.example:443/x"));
        assert!(!may(Reach::Public, &[], "https://a.example:8443/x"));
        assert!(may(Reach::Public, &[8443], "https://a.example:8443/x"));
        for port in [22, 25, 80, 6379, 8444] {
            assert!(!may(Reach::Public, &[8443], &format!("https://a.example:{port}/x")), "{port}");
        }
        assert!(may(Reach::Loopback, &[], "http://127.0.0.1:9000/x"));
        assert!(!may(Reach::Loopback, &[], "http://127.0.0.1:22/x"));
        assert!(!may(Reach::Loopback, &[], "https://a.example:9000/x"));
    }

    /// Answers something else each time, as a name server may that wants in.
    struct Flipping(std::sync::atomic::AtomicUsize);

    impl Resolve for Flipping {
        fn resolve(&self, _: Name) -> Resolving {
            let inner = SocketAddr::from(([127, 0, 0, 1], 0));
            let mapped = SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), 0);
            let outer = SocketAddr::from(([192, 0, 2, 7], 0));
            let found = match self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 5 {
                0 => vec![inner],
                1 => vec![outer, inner],
                2 => vec![inner, outer],
                3 => vec![outer, mapped],
                _ => vec![outer],
            };
            Box::pin(async move { Ok(Box::new(found.into_iter()) as Addrs) })
        }
    }

    /// A listener on this machine that counts who connects.
    async fn inner() -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count: Arc<std::sync::atomic::AtomicUsize> = Arc::default();
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        (port, count)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn names_that_flip_between_answers_lead_to_no_inner_connection() {
        let (port, connected) = inner().await;
        let send = async |reach| {
            let names = Arc::new(Flipping(0.into()));
            let patience = Duration::from_millis(20);
            let fetcher = Fetcher::with(reach, Ports::Usual, patience, names.clone()).unwrap();
            for _ in 0..1000 {
                let url = format!("https://flip.example:{port}/x");
                assert!(fetcher.send(&url, &[], "{}".to_owned()).await.is_err());
            }
            names.0.load(std::sync::atomic::Ordering::Relaxed)
        };
        assert_eq!(send(Reach::Public).await, 1000, "one look-up for each");
        assert_eq!(connected.load(std::sync::atomic::Ordering::Relaxed), 0);
        // Who may reach this machine does reach it: the count counts.
        send(Reach::Loopback).await;
        assert!(connected.load(std::sync::atomic::Ordering::Relaxed) > 0);
    }

    /// A server that gives one answer to every request and counts them.
    async fn answering(answer: String) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count: Arc<std::sync::atomic::AtomicUsize> = Arc::default();
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (port, count)
    }

    #[tokio::test]
    async fn no_redirect_is_followed_and_no_long_answer_is_waited_for() {
        let (inner, connected) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
        let fetcher = Fetcher::new(Reach::Loopback).unwrap();
        let send = async |port: u16| {
            fetcher.send(&format!("http://127.0.0.1:{port}/"), &[("a", "b")], "{}".to_owned()).await.unwrap()
        };
        for status in [300, 301, 302, 303, 304, 307, 308] {
            let location = format!("http://127.0.0.1:{inner}/");
            let answer = format!(
                "HTTP/1.1 {status} X\r\nlocation: {location}\r\nretry-after: 7\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let (port, _) = answering(answer).await;
            assert_eq!(send(port).await, Reply { status, retry_after: Some("7".to_owned()) });
        }
        assert_eq!(connected.load(std::sync::atomic::Ordering::Relaxed), 0);
        // Its body never ends.
        let (port, _) = answering("HTTP/1.1 204 X\r\n\r\n".to_owned()).await;
        assert_eq!(send(port).await.status, 204);
        let begun = std::time::Instant::now();
        let (port, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx".to_owned()).await;
        assert_eq!(send(port).await.status, 200);
        assert!(begun.elapsed() < PATIENCE);
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
