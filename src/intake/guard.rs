//! The one client for addresses that an administrator gave us and others may have chosen: it connects to public addresses
//! only, follows nothing and obeys no proxy of the environment.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Largest body read, in bytes.
const MAX_LENGTH: usize = 256 * 1024;

/// Whether an origin is of this machine, as in development.
#[must_use]
pub fn is_loopback(origin: &str) -> bool {
    let host = Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned));
    matches!(host.as_deref(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

/// A client that reaches public addresses, and its rule for what may be asked of it.
#[derive(Debug, Clone)]
pub struct Guarded {
    client: Client,
    loopback: bool,
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The body.
    pub body: Vec<u8>,
    /// Seconds that it may be kept, where it says so.
    pub max_age: Option<i64>,
}

impl Guarded {
    /// `loopback`: this machine's own addresses are allowed too, also without TLS. For development, where the service
    /// itself is reached by them.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(loopback: bool) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .https_only(!loopback)
            .dns_resolver(Arc::new(Vetting { loopback }))
            .build()?;
        Ok(Self { client, loopback })
    }

    /// Reads an address that may be asked for.
    ///
    /// # Errors
    /// Says what to write instead.
    pub fn check(&self, text: &str) -> Result<Url, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL")?;
        let host = url.host_str().ok_or("names no host")?;
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        let own = self.loopback && is_loopback(text);
        if url.scheme() != "https" && !(url.scheme() == "http" && own) {
            return Err("must be https");
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("must have neither user nor fragment");
        }
        // SECURITY: an address needs no name service, so the resolver never sees it.
        if literal.is_some_and(|address| !own && !is_public(address)) {
            return Err("must be a public address");
        }
        if url.port().is_some_and(|port| port < 1024) {
            return Err("must be on port 443 or above 1023");
        }
        Ok(url)
    }

    /// Fetches a small document.
    ///
    /// # Errors
    /// Says in a few words what went wrong.
    pub async fn get(&self, url: &str) -> Result<Fetched, &'static str> {
        let url = self.check(url)?;
        let mut response = self.client.get(url).send().await.map_err(|_| "it cannot be reached")?;
        if response.status() != reqwest::StatusCode::OK {
            return Err("it does not answer with 200");
        }
        let max_age = response
            .headers()
            .get(reqwest::header::CACHE_CONTROL)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.split(',').find_map(|part| part.trim().strip_prefix("max-age=")?.parse().ok()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| "the answer was cut short")? {
            if body.len() + chunk.len() > MAX_LENGTH {
                return Err("the answer is over 256 KiB");
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body, max_age })
    }
}

/// Resolves a name and lets only public addresses through, to the very connection that is then made: a name that resolves
/// otherwise the next time is judged again.
struct Vetting {
    loopback: bool,
}

impl Resolve for Vetting {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.loopback;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let fit = |address: &SocketAddr| is_public(address.ip()) || (loopback && address.ip().is_loopback());
            let vetted: Vec<SocketAddr> = found.filter(fit).collect();
            if vetted.is_empty() {
                return Err("no public address".into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet (the IANA special-purpose registries, RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    const BLOCKED: [(u32, u32); 15] = [
        (0x0000_0000, 8),  // this network
        (0x0a00_0000, 8),  // private
        (0x6440_0000, 10), // shared by carriers
        (0x7f00_0000, 8),  // loopback
        (0xa9fe_0000, 16), // link-local, with the metadata of clouds
        (0xac10_0000, 12), // private
        (0xc000_0000, 24), // protocol assignments
        (0xc000_0200, 24), // documentation
        (0xc058_6300, 24), // 6to4 relays
        (0xc0a8_0000, 16), // private
        (0xc612_0000, 15), // benchmarks
        (0xc633_6400, 24), // documentation
        (0xcb00_7100, 24), // documentation
        (0xe000_0000, 4),  // multicast
        (0xf000_0000, 4),  // reserved, broadcast
    ];
    let bits = address.to_bits();
    BLOCKED.iter().all(|(network, length)| bits >> (32 - length) != network >> (32 - length))
}

/// Global unicast alone, without the ranges that carry an IPv4 address inside or are for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let global = first & 0xe000 == 0x2000;
    let special = first == 0x2001 && (second < 0x0200 || second == 0x0db8);
    global && !special && first != 0x2002 && !(first == 0x3fff && second < 0x1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for blocked in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(blocked.parse().unwrap()), "{blocked}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe::1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_is_https_public_and_plain() {
        let (out, own) = (Guarded::new(false).unwrap(), Guarded::new(true).unwrap());
        for good in ["https://idp.example/jwks", "https://idp.example:8443/jwks?x=1", "https://1.1.1.1/"] {
            assert!(out.check(good).is_ok() && own.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://idp.example/jwks",
            "https://user@idp.example/",
            "https://:x@idp.example/",
            "https://idp.example/#a",
            "https://idp.example:22/",
            "https://10.0.0.1/",
            "https://[::ffff:10.0.0.1]/",
            "https://0x0a000001/",
            "https://167772161/",
            "https://169.254.169.254/latest",
            "file:///etc/passwd",
            "data:,x",
            "idp.example",
            "",
        ] {
            assert!(out.check(bad).is_err() && own.check(bad).is_err(), "{bad}");
        }
        for local in ["http://127.0.0.1:9000/jwks", "http://localhost:9000/jwks", "http://[::1]:9000/jwks"] {
            assert!(out.check(local).is_err() && own.check(local).is_ok(), "{local}");
        }
        assert!(own.check("http://127.0.0.2:9000/").is_err());
    }

    #[tokio::test]
    async fn a_name_of_an_inner_address_is_not_connected_to() {
        let server = wiremock::MockServer::start().await;
        let url = server.uri().replace("127.0.0.1", "localhost").replace("http:", "https:");
        let refused = Guarded::new(false).unwrap().get(&url).await;
        assert_eq!(refused.unwrap_err(), "it cannot be reached");
        assert!(server.received_requests().await.unwrap().is_empty());
        let vetting = |loopback| async move {
            let name = "localhost".parse().unwrap();
            Vetting { loopback }.resolve(name).await.map(|found| found.count())
        };
        assert!(vetting(false).await.is_err());
        assert!(vetting(true).await.is_ok_and(|count| count > 0));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_a_large_answer_not_read() {
        use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};
        let server = MockServer::start().await;
        let moved = ResponseTemplate::new(302).insert_header("location", format!("{}/ok", server.uri()));
        Mock::given(path("/moved")).respond_with(moved).mount(&server).await;
        Mock::given(path("/ok")).respond_with(ResponseTemplate::new(200).set_body_string("x")).mount(&server).await;
        let large = ResponseTemplate::new(200).set_body_bytes(vec![b'x'; MAX_LENGTH + 1]);
        Mock::given(path("/large")).respond_with(large).mount(&server).await;
        let own = Guarded::new(true).unwrap();
        assert_eq!(own.get(&format!("{}/moved", server.uri())).await.unwrap_err(), "it does not answer with 200");
        assert_eq!(own.get(&format!("{}/large", server.uri())).await.unwrap_err(), "the answer is over 256 KiB");
        assert_eq!(own.get(&format!("{}/ok", server.uri())).await.unwrap().body, b"x");
    }
}
