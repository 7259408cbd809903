//! Rate limits: who may ask how often (draft-ietf-httpapi-ratelimit-headers).
//!
//! A token bucket in one number: the instant at which the bucket will be full again (the generic cell rate
//! algorithm). Buckets live in memory, per process, in caches of bounded size; what is evicted is full again.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use moka::sync::Cache;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Most buckets of one class; each takes about 100 bytes.
const BUCKETS: u64 = 100_000;

/// So many requests in so many seconds; all of them may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    requests: u32,
    seconds: u32,
}

impl Quota {
    /// Reads `REQUESTS/SECONDS`, or `off` for no limit.
    ///
    /// # Errors
    /// Says what to write.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if text == "off" {
            return Ok(None);
        }
        let number = |part: &str| part.parse::<u32>().ok().filter(|number| (1..=1_000_000_000).contains(number));
        let quota = text
            .split_once('/')
            .and_then(|(requests, seconds)| Some(Self { requests: number(requests)?, seconds: number(seconds)? }))
            .filter(|quota| quota.seconds <= 86_400);
        quota.map(Some).ok_or_else(|| format!("`{text}` is neither `REQUESTS/SECONDS` nor `off`"))
    }
}

/// Quotas of all classes; `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// An authenticated client.
    pub client: Option<Quota>,
    /// An authenticated gateway.
    pub gateway: Option<Quota>,
    /// An address at what needs no token, and at anything with a token that is none.
    pub public: Option<Quota>,
    /// An address at the token endpoint, where each try costs a password hash.
    pub token: Option<Quota>,
}

impl Quotas {
    /// No limit for anybody.
    pub const OFF: Self = Self { client: None, gateway: None, public: None, token: None };
}

impl Default for Quotas {
    fn default() -> Self {
        let per_minute = |requests| Some(Quota { requests, seconds: 60 });
        Self {
            client: per_minute(60_000),
            gateway: per_minute(6_000_000),
            public: per_minute(6_000),
            token: per_minute(600),
        }
    }
}

/// One class of askers.
#[derive(Debug)]
pub(super) struct Class {
    name: &'static str,
    quota: Option<Quota>,
    /// Instants in nanoseconds since the epoch, under a keyed hash of who asks.
    full_at: Cache<u64, Arc<AtomicI64>>,
    hasher: RandomState,
}

/// How a request stands to its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    class: &'static str,
    quota: Quota,
    left: i64,
    full_in_secs: i64,
    /// Seconds until one request will be admitted; 0 when this one is.
    pub(super) wait_secs: i64,
}

const SECOND: i64 = 1_000_000_000;

impl Class {
    fn new(name: &'static str, quota: Option<Quota>) -> Self {
        Self { name, quota, full_at: Cache::new(BUCKETS), hasher: RandomState::new() }
    }

    /// Takes one from the bucket of `who`. `None` where there is no limit.
    pub(super) fn take(&self, who: impl Hash, now_ms: i64) -> Option<Standing> {
        let quota = self.quota?;
        let window = i64::from(quota.seconds) * SECOND;
        let cost = (window / i64::from(quota.requests)).max(1);
        let now = now_ms.saturating_mul(1_000_000);
        let bucket = self.full_at.get_with(self.hasher.hash_one(who), Arc::default);
        let mut found = bucket.load(Ordering::Relaxed);
        let (full_at, admitted) = loop {
            // A clock that was set back leaves no bucket empty for longer than its window.
            let latest = now.saturating_add(window);
            let full_at = found.clamp(now, latest) + cost;
            if full_at > latest {
                if found > latest {
                    let _ = bucket.compare_exchange(found, latest, Ordering::Relaxed, Ordering::Relaxed);
                }
                break (full_at, false);
            }
            match bucket.compare_exchange_weak(found, full_at, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break (full_at, true),
                Err(newer) => found = newer,
            }
        };
        let up = |nanos: i64| (nanos + SECOND - 1) / SECOND;
        let filled = if admitted { full_at } else { full_at - cost };
        Some(Standing {
            class: self.name,
            quota,
            left: ((window - (filled - now)) / cost).max(0),
            full_in_secs: up(filled - now).max(0),
            wait_secs: if admitted { 0 } else { up(full_at - now - window).max(1) },
        })
    }
}

impl Standing {
    /// Name of the class.
    pub(super) fn class(&self) -> &'static str {
        self.class
    }

    /// Writes `RateLimit` and `RateLimit-Policy`.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Self { class, quota, left, full_in_secs, .. } = self;
        let policy = format!("\"{class}\";q={};w={}", quota.requests, quota.seconds);
        let limit = format!("\"{class}\";r={left};t={full_in_secs}");
        for (name, text) in [(POLICY, policy), (LIMIT, limit)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// All classes.
#[derive(Debug)]
pub struct Limits {
    pub(super) client: Class,
    pub(super) gateway: Class,
    pub(super) public: Class,
    pub(super) token: Class,
}

impl Limits {
    /// With these quotas and full buckets.
    #[must_use]
    pub fn new(quotas: &Quotas) -> Self {
        Self {
            client: Class::new("client", quotas.client),
            gateway: Class::new("gateway", quotas.gateway),
            public: Class::new("public", quotas.public),
            token: Class::new("token", quotas.token),
        }
    }
}

/// What an address is counted as: in IPv6 one site has at least a /64.
pub(super) fn site(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits().checked_shr(64).and_then(|half| u64::try_from(half).ok()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(quota: &str) -> Class {
        Class::new("client", Quota::parse(quota).unwrap())
    }

    fn admitted(class: &Class, who: &str, now_ms: i64) -> usize {
        (0..1000).take_while(|_| class.take(who, now_ms).unwrap().wait_secs == 0).count()
    }

    #[test]
    fn a_bucket_holds_its_quota_and_fills_evenly() {
        let class = class("60/60");
        let now = 1_795_219_200_000;
        assert_eq!(admitted(&class, "a", now), 60);
        assert_eq!(admitted(&class, "b", now), 60, "each has its own");
        assert_eq!(admitted(&class, "a", now + 999), 0);
        assert_eq!(admitted(&class, "a", now + 1000), 1);
        assert_eq!(admitted(&class, "a", now + 11_000), 10);
        assert_eq!(admitted(&class, "a", now + 1_000_000), 60, "never more than full");
        assert_eq!(admitted(&class, "a", now - 1_000_000), 0);
        assert_eq!(admitted(&class, "a", now - 1_000_000 + 60_000), 60, "a clock set back costs one window");
    }

    #[test]
    fn the_headers_say_what_is_left_and_when_it_is_full() {
        let class = class("3/60");
        let take = |at| {
            let standing = class.take("a", at).unwrap();
            (standing.left, standing.full_in_secs, standing.wait_secs)
        };
        assert_eq!([take(0), take(0), take(1000), take(1000)], [(2, 20, 0), (1, 40, 0), (0, 59, 0), (0, 59, 19)]);
        let mut headers = HeaderMap::new();
        class.take("a", 20_000).unwrap().write(&mut headers);
        assert_eq!(headers[POLICY], "\"client\";q=3;w=60");
        assert_eq!(headers[LIMIT], "\"client\";r=0;t=60");
    }

    #[test]
    fn a_quota_is_written_as_requests_and_seconds() {
        assert_eq!(Quota::parse("10/1"), Ok(Some(Quota { requests: 10, seconds: 1 })));
        assert_eq!(Quota::parse("off"), Ok(None));
        for bad in ["", "10", "0/1", "1/0", "10/1s", "-1/1", "1/86401", "1/1/1"] {
            assert!(Quota::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_strangers_take_bounded_memory() {
        let class = class("1/60");
        for stranger in 0..(BUCKETS * 2) {
            class.take(stranger, 0);
        }
        class.full_at.run_pending_tasks();
        assert!(class.full_at.entry_count() <= BUCKETS);
    }

    #[test]
    fn an_ipv6_site_is_one_and_mapped_addresses_are_ipv4() {
        let of = |text: &str| site(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
