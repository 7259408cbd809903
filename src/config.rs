//! Configuration: built-in defaults, then the file, then `VOUCHSAFE_*`, then flags. Every key is safe when absent or refused at start by name.

use crate::http::limits::{Quota, Quotas};
use crate::intake::client_address::{ForwardedHeader, Proxies, is_nat64_length};
use crate::service::appeals::APPEAL_SECS;
use crate::service::keys::KEY_ROTATION_SECS;
use crate::service::reassess::NOTICES_SECS;
use crate::service::retention::RETENTION_SECS;
use crate::service::webhooks::OVERLAP_SECS;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use vouchsafe_core::policy::Span;
use vouchsafe_core::second::DAY;

/// Why the service cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not readable or not TOML of our shape; carries line and column.
    #[error("configuration file `{path}`: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A key is missing or its value cannot be used.
    #[error("configuration key `{key}`: {problem}")]
    Key {
        /// Name in the file; in the environment it is `VOUCHSAFE_` and the name in capitals.
        key: &'static str,
        /// What to do.
        problem: String,
    },
}

/// Log format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What the file may say; all keys optional.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// `https://…`, the issuer of our tokens.
    pub public_origin: Option<String>,
    /// Address of the public listener.
    pub listen: Option<String>,
    /// Address of the admin listener: `/metrics`, `/livez`, `/readyz`.
    pub admin_listen: Option<String>,
    /// Address of the listener for gateways that ask by gRPC; none unless named.
    pub grpc_listen: Option<String>,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: Option<String>,
    /// 32 bytes, mode 0400.
    pub master_key_file: Option<PathBuf>,
    /// How far the history went, outside the database; or `off`.
    pub anchor_file: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For` or `Forwarded` is believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// `x-forwarded-for` or `forwarded`: which of them the proxies write.
    pub forwarded_header: Option<String>,
    /// Prefixes of translators from IPv4 to IPv6, beside `64:ff9b::/96`.
    pub nat64_prefixes: Option<Vec<String>>,
    /// `REQUESTS/SECONDS` of one client, or `off`.
    pub rate_limit_client: Option<String>,
    /// The same of one gateway.
    pub rate_limit_gateway: Option<String>,
    /// The same of one address at public endpoints.
    pub rate_limit_public: Option<String>,
    /// The same of one address at the token endpoint.
    pub rate_limit_token: Option<String>,
    /// How long what an auditor may ask about is kept: `1826d`.
    pub retention: Option<String>,
    /// Within what time an appeal is to be decided: `30d`.
    pub appeal_within: Option<String>,
    /// How long a key signs before the next one does: `90d`; or `off`.
    pub key_rotation: Option<String>,
    /// MaxMind databases.
    pub geoip: Option<Vec<PathBuf>>,
    /// Ports besides 443 on which webhook endpoints may be told.
    pub webhook_ports: Option<Vec<u16>>,
    /// How long an old webhook secret signs beside the new one: `24h`.
    pub webhook_overlap: Option<String>,
    /// How long before its end a yes that will not be renewed is told: `30d`, `7d`, `1d`; none for never.
    pub expiry_notices: Option<Vec<String>>,
    /// Whether evidence may be made up; for the whole life of a database.
    pub test_deployment: Option<bool>,
    /// Whether AuthZEN's search for subjects is offered.
    pub authzen_subject_search: Option<bool>,
    /// `human` or `json`.
    pub log: Option<LogFormat>,
    /// Base address of a collector of traces, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
    /// Share, from 0 to 1, of the traces begun here that are kept.
    pub otlp_share: Option<f64>,
}

impl RawConfig {
    /// Reads the file, if one is named.
    ///
    /// # Errors
    /// When it cannot be read or holds unknown keys.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let fail = |problem: String| ConfigError::File { path: path.display().to_string(), problem };
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        toml::from_str(&text).map_err(|error| fail(error.to_string()))
    }

    /// Lays `VOUCHSAFE_*` over it. Lists are separated by commas.
    ///
    /// # Errors
    /// When a value cannot be used.
    pub fn overlay(mut self, get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let list = |text: String| text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
        let set = |slot: &mut Option<String>, name: &str| {
            if let Some(value) = get(name) {
                *slot = Some(value);
            }
        };
        set(&mut self.public_origin, "VOUCHSAFE_PUBLIC_ORIGIN");
        set(&mut self.listen, "VOUCHSAFE_LISTEN");
        set(&mut self.admin_listen, "VOUCHSAFE_ADMIN_LISTEN");
        set(&mut self.grpc_listen, "VOUCHSAFE_GRPC_LISTEN");
        set(&mut self.database, "VOUCHSAFE_DATABASE");
        set(&mut self.retention, "VOUCHSAFE_RETENTION");
        set(&mut self.appeal_within, "VOUCHSAFE_APPEAL_WITHIN");
        set(&mut self.key_rotation, "VOUCHSAFE_KEY_ROTATION");
        set(&mut self.webhook_overlap, "VOUCHSAFE_WEBHOOK_OVERLAP");
        set(&mut self.rate_limit_client, "VOUCHSAFE_RATE_LIMIT_CLIENT");
        set(&mut self.rate_limit_gateway, "VOUCHSAFE_RATE_LIMIT_GATEWAY");
        set(&mut self.rate_limit_public, "VOUCHSAFE_RATE_LIMIT_PUBLIC");
        set(&mut self.rate_limit_token, "VOUCHSAFE_RATE_LIMIT_TOKEN");
        if let Some(path) = get("VOUCHSAFE_MASTER_KEY_FILE") {
            self.master_key_file = Some(path.into());
        }
        if let Some(path) = get("VOUCHSAFE_ANCHOR_FILE") {
            self.anchor_file = Some(path.into());
        }
        if let Some(text) = get("VOUCHSAFE_TRUSTED_PROXIES") {
            self.trusted_proxies = Some(list(text));
        }
        if let Some(text) = get("VOUCHSAFE_NAT64_PREFIXES") {
            self.nat64_prefixes = Some(list(text));
        }
        if let Some(text) = get("VOUCHSAFE_EXPIRY_NOTICES") {
            self.expiry_notices = Some(list(text));
        }
        if let Some(text) = get("VOUCHSAFE_WEBHOOK_PORTS") {
            let problem = |port| ConfigError::Key { key: "webhook_ports", problem: format!("`{port}` is no port") };
            let ports: Vec<String> = list(text);
            let ports = ports.into_iter().map(|port| port.parse().map_err(|_| problem(port)));
            self.webhook_ports = Some(ports.collect::<Result<_, _>>()?);
        }
        set(&mut self.forwarded_header, "VOUCHSAFE_FORWARDED_HEADER");
        if let Some(text) = get("VOUCHSAFE_GEOIP") {
            let paths: Vec<String> = list(text);
            self.geoip = Some(paths.into_iter().map(PathBuf::from).collect());
        }
        set(&mut self.otlp_endpoint, "VOUCHSAFE_OTLP_ENDPOINT");
        if let Some(text) = get("VOUCHSAFE_OTLP_SHARE") {
            let problem = || ConfigError::Key { key: "otlp_share", problem: "must be a number from 0 to 1".to_owned() };
            self.otlp_share = Some(text.parse().map_err(|_| problem())?);
        }
        let flag = |name: &str, key: &'static str| {
            let problem = || ConfigError::Key { key, problem: "must be `true` or `false`".to_owned() };
            get(name).map(|text| text.parse::<bool>().map_err(|_| problem())).transpose()
        };
        self.test_deployment = flag("VOUCHSAFE_TEST_DEPLOYMENT", "test_deployment")?.or(self.test_deployment);
        self.authzen_subject_search =
            flag("VOUCHSAFE_AUTHZEN_SUBJECT_SEARCH", "authzen_subject_search")?.or(self.authzen_subject_search);
        if let Some(text) = get("VOUCHSAFE_LOG") {
            self.log = Some(match text.as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => return Err(ConfigError::Key { key: "log", problem: "must be `human` or `json`".to_owned() }),
            });
        }
        Ok(self)
    }

    /// Where the admin listener is; all that a health check has to know.
    ///
    /// # Errors
    /// When the value is no address.
    pub fn admin_address(&self) -> Result<SocketAddr, ConfigError> {
        address("admin_listen", self.admin_listen.as_deref().unwrap_or("127.0.0.1:9090"))
    }
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let problem = || format!("`{text}` is not an address such as `127.0.0.1:8080`");
    text.parse().map_err(|_| ConfigError::Key { key, problem: problem() })
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// Base address of the collector, without trailing slash.
    pub endpoint: String,
    /// Share, from 0 to 1, of the traces begun here that are kept; who calls us decides for theirs.
    pub share: f64,
}

/// Checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The issuer, without trailing slash.
    pub public_origin: String,
    /// Public listener.
    pub listen: SocketAddr,
    /// Admin listener.
    pub admin_listen: SocketAddr,
    /// Listener for gateways that ask by gRPC, if any.
    pub grpc_listen: Option<SocketAddr>,
    /// Database URL.
    pub database: String,
    /// Master key file.
    pub master_key_file: PathBuf,
    /// Anchor file; none only where it was switched off.
    pub anchor_file: Option<PathBuf>,
    /// The proxies whose word about addresses is believed.
    pub proxies: Proxies,
    /// Who may ask how often.
    pub quotas: Quotas,
    /// How long what an auditor may ask about is kept.
    pub retention: Span,
    /// Within what time an appeal is to be decided.
    pub appeal_within: Span,
    /// How long a key signs before the next one does; none for ever.
    pub key_rotation: Option<Span>,
    /// Ports besides 443 on which webhook endpoints may be told.
    pub webhook_ports: Vec<u16>,
    /// How long an old webhook secret signs beside the new one.
    pub webhook_overlap: Span,
    /// How long before its end a yes that will not be renewed is told, seconds, longest first.
    pub expiry_notices: Vec<i64>,
    /// Network databases.
    pub geoip: Vec<PathBuf>,
    /// Whether AuthZEN's search for subjects is offered.
    pub authzen_subject_search: bool,
    /// Whether evidence may be made up.
    pub test_deployment: bool,
    /// Log format.
    pub log: LogFormat,
    /// Where traces go, if anywhere.
    pub otlp: Option<Otlp>,
}

/// How long a key signs; at least a day, for each rotation leaves a key behind for as long as its tokens live.
fn rotation(text: Option<String>) -> Result<Option<Span>, ConfigError> {
    let key = |problem: String| ConfigError::Key { key: "key_rotation", problem };
    let span = match text.as_deref() {
        None => Span::from_secs(KEY_ROTATION_SECS),
        Some("off") => return Ok(None),
        Some(text) => Span::try_from(text.to_owned()).map_err(key)?,
    };
    if span.secs() < DAY { Err(key("must be at least `1d`, or `off`".to_owned())) } else { Ok(Some(span)) }
}

/// How long an old webhook secret signs; at most a week, for who holds it can forge as long.
fn overlap(text: Option<String>) -> Result<Span, ConfigError> {
    let key = |problem: String| ConfigError::Key { key: "webhook_overlap", problem };
    let span = text.map_or(Ok(Span::from_secs(OVERLAP_SECS)), |text| Span::try_from(text).map_err(key))?;
    if span.secs() > 7 * DAY { Err(key("must be at most `7d`".to_owned())) } else { Ok(span) }
}

/// When ends are told ahead, longest first.
fn notices(texts: Option<Vec<String>>) -> Result<Vec<i64>, ConfigError> {
    let key = |problem: String| ConfigError::Key { key: "expiry_notices", problem };
    let Some(texts) = texts else { return Ok(NOTICES_SECS.to_vec()) };
    let spans = texts.into_iter().map(|text| Span::try_from(text).map(Span::secs).map_err(key));
    let mut spans = spans.collect::<Result<Vec<i64>, _>>()?;
    spans.sort_unstable_by(|a, b| b.cmp(a));
    spans.dedup();
    let fits = spans.len() <= 8 && spans.iter().all(|secs| (3600..=366 * DAY).contains(secs));
    if fits { Ok(spans) } else { Err(key("names at most 8 lengths of time from `1h` to `366d`".to_owned())) }
}

/// Where traces go; refused by a binary that could not send them.
fn otlp(endpoint: Option<String>, share: Option<f64>) -> Result<Option<Otlp>, ConfigError> {
    let key = |key: &'static str, problem: &str| ConfigError::Key { key, problem: problem.to_owned() };
    let share = share.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&share) {
        return Err(key("otlp_share", "must be a number from 0 to 1"));
    }
    let Some(endpoint) = endpoint else { return Ok(None) };
    let usable = reqwest::Url::parse(&endpoint)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none());
    if !usable {
        return Err(key("otlp_endpoint", "must be the base address of a collector, such as `http://127.0.0.1:4318`"));
    }
    if !cfg!(feature = "otel") {
        let problem = "this binary was built without traces: build it with `--features otel`, or remove the key";
        return Err(key("otlp_endpoint", problem));
    }
    Ok(Some(Otlp { endpoint: endpoint.trim_end_matches('/').to_owned(), share }))
}

/// The proxies we run, and how they say whom they forward for.
fn proxies(trusted: Vec<String>, header: Option<&str>, nat64: Vec<String>) -> Result<Proxies, ConfigError> {
    let key = |key: &'static str, problem: String| ConfigError::Key { key, problem };
    let network = |text: String| {
        text.parse::<ipnet::IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
            .map_err(|_| key("trusted_proxies", format!("`{text}` is not a network such as `10.0.0.0/8`")))
    };
    let prefix = |text: String| {
        let parsed = text.parse::<ipnet::Ipv6Net>().ok().filter(|prefix| is_nat64_length(prefix.prefix_len()));
        let problem = || format!("`{text}` is no IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits");
        parsed.ok_or_else(|| key("nat64_prefixes", problem()))
    };
    let named = header.map_or(Some(ForwardedHeader::default()), ForwardedHeader::parse);
    Ok(Proxies {
        trusted: trusted.into_iter().map(network).collect::<Result<_, _>>()?,
        header: named.ok_or_else(|| key("forwarded_header", "must be `x-forwarded-for` or `forwarded`".to_owned()))?,
        nat64: nat64.into_iter().map(prefix).collect::<Result<_, _>>()?,
    })
}

impl Config {
    /// Checks every key.
    ///
    /// # Errors
    /// Naming the key and what to do.
    pub fn check(raw: RawConfig) -> Result<Self, ConfigError> {
        let key = |key: &'static str, problem: String| ConfigError::Key { key, problem };
        let admin_listen = raw.admin_address()?;
        let origin = raw.public_origin.ok_or_else(|| {
            key(
                "public_origin",
                "is required: the address by which others reach this service, such as `https://eligibility.example`"
                    .to_owned(),
            )
        })?;
        let url = reqwest::Url::parse(&origin).map_err(|_| key("public_origin", "is not a URL".to_owned()))?;
        let loopback = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(key("public_origin", "must be https, or http on loopback".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() || url.path() != "/" {
            return Err(key("public_origin", "must be an origin without path, query or fragment".to_owned()));
        }
        let proxies = proxies(
            raw.trusted_proxies.unwrap_or_default(),
            raw.forwarded_header.as_deref(),
            raw.nat64_prefixes.unwrap_or_default(),
        )?;
        let usual = Quotas::default();
        let quota = |name: &'static str, text: &Option<String>, usual: Option<Quota>| {
            text.as_deref().map_or(Ok(usual), |text| Quota::parse(text).map_err(|problem| key(name, problem)))
        };
        let quotas = Quotas {
            client: quota("rate_limit_client", &raw.rate_limit_client, usual.client)?,
            gateway: quota("rate_limit_gateway", &raw.rate_limit_gateway, usual.gateway)?,
            public: quota("rate_limit_public", &raw.rate_limit_public, usual.public)?,
            token: quota("rate_limit_token", &raw.rate_limit_token, usual.token)?,
        };
        let retention = match raw.retention {
            None => Span::from_secs(RETENTION_SECS),
            Some(text) => Span::try_from(text).map_err(|problem| key("retention", problem))?,
        };
        if retention.secs() < DAY {
            return Err(key("retention", "must be at least `1d`".to_owned()));
        }
        let appeal_within = match raw.appeal_within {
            None => Span::from_secs(APPEAL_SECS),
            Some(text) => Span::try_from(text).map_err(|problem| key("appeal_within", problem))?,
        };
        if !(DAY..=366 * DAY).contains(&appeal_within.secs()) {
            return Err(key("appeal_within", "must be from `1d` to `366d`".to_owned()));
        }
        let master_key_file = raw.master_key_file.ok_or_else(|| {
            key("master_key_file", "is required; create one with `vouchsafe keys master FILE`".to_owned())
        })?;
        let anchor_file = match raw.anchor_file {
            Some(path) if path.as_os_str() == "off" => None,
            Some(path) if path.as_os_str().is_empty() => {
                return Err(key("anchor_file", "is empty: name a file, or `off`".to_owned()));
            }
            Some(path) => Some(path),
            // Beside the key, which is not where the database and its backups are.
            None => {
                let mut name = master_key_file.clone().into_os_string();
                name.push(".anchor");
                Some(name.into())
            }
        };
        Ok(Self {
            quotas,
            retention,
            appeal_within,
            key_rotation: rotation(raw.key_rotation)?,
            webhook_ports: raw.webhook_ports.unwrap_or_default(),
            webhook_overlap: overlap(raw.webhook_overlap)?,
            expiry_notices: notices(raw.expiry_notices)?,
            public_origin: origin.trim_end_matches('/').to_owned(),
            listen: address("listen", raw.listen.as_deref().unwrap_or("127.0.0.1:8080"))?,
            admin_listen,
            grpc_listen: raw.grpc_listen.as_deref().map(|text| address("grpc_listen", text)).transpose()?,
            database: raw.database.unwrap_or_else(|| "sqlite:vouchsafe.db".to_owned()),
            master_key_file,
            anchor_file,
            proxies,
            geoip: raw.geoip.unwrap_or_default(),
            authzen_subject_search: raw.authzen_subject_search.unwrap_or(false),
            test_deployment: raw.test_deployment.unwrap_or(false),
            log: raw.log.unwrap_or(LogFormat::Human),
            otlp: otlp(raw.otlp_endpoint, raw.otlp_share)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_lies_over_the_file_and_missing_keys_are_named() {
        let raw = RawConfig { listen: Some("127.0.0.1:1".into()), ..RawConfig::default() };
        let raw = raw.overlay(|name| (name == "VOUCHSAFE_LISTEN").then(|| "127.0.0.1:2".to_owned())).unwrap();
        assert_eq!(raw.listen.as_deref(), Some("127.0.0.1:2"));
        let error = Config::check(raw).unwrap_err().to_string();
        assert!(error.contains("`public_origin`"), "{error}");
    }

    #[test]
    fn grpc_is_spoken_only_where_an_address_is_named() {
        let raw = |address: Option<&'static str>| {
            let raw = RawConfig {
                public_origin: Some("https://a.example".into()),
                master_key_file: Some("k".into()),
                ..RawConfig::default()
            };
            raw.overlay(|name| address.filter(|_| name == "VOUCHSAFE_GRPC_LISTEN").map(str::to_owned)).unwrap()
        };
        assert_eq!(Config::check(raw(None)).unwrap().grpc_listen, None);
        assert_eq!(Config::check(raw(Some("127.0.0.1:1"))).unwrap().grpc_listen, Some(([127, 0, 0, 1], 1).into()));
        assert!(Config::check(raw(Some("all"))).unwrap_err().to_string().contains("`grpc_listen`"));
    }

    #[test]
    fn a_rate_limit_is_read_or_refused_by_name() {
        let raw = |limit: &str| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("k".into()),
            rate_limit_token: Some(limit.into()),
            ..RawConfig::default()
        };
        assert_eq!(Config::check(raw("off")).unwrap().quotas.token, None);
        assert_eq!(Config::check(raw("5/1")).unwrap().quotas.token, Quota::parse("5/1").unwrap());
        assert!(Config::check(raw("5")).unwrap_err().to_string().contains("`rate_limit_token`"));
    }

    #[test]
    fn a_retention_is_at_least_a_day() {
        let raw = |retention: &str| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("k".into()),
            retention: Some(retention.into()),
            ..RawConfig::default()
        };
        assert_eq!(Config::check(raw("30d")).unwrap().retention.secs(), 30 * 86_400);
        for wrong in ["23h", "5y", "-1d", ""] {
            assert!(Config::check(raw(wrong)).unwrap_err().to_string().contains("`retention`"), "{wrong}");
        }
    }

    #[test]
    fn keys_are_rotated_after_a_day_at_the_earliest_or_never() {
        let raw = |rotation: Option<&str>| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("k".into()),
            key_rotation: rotation.map(str::to_owned),
            ..RawConfig::default()
        };
        let read = |text| Config::check(raw(text)).unwrap().key_rotation.map(Span::secs);
        assert_eq!((read(None), read(Some("1d")), read(Some("off"))), (Some(90 * 86_400), Some(86_400), None));
        for wrong in ["23h", "never", ""] {
            assert!(Config::check(raw(Some(wrong))).unwrap_err().to_string().contains("`key_rotation`"), "{wrong}");
        }
    }

    #[test]
    fn an_appeal_is_decided_within_a_day_and_a_year() {
        let raw = |within: Option<&str>| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("k".into()),
            appeal_within: within.map(str::to_owned),
            ..RawConfig::default()
        };
        assert_eq!(Config::check(raw(None)).unwrap().appeal_within.secs(), 30 * 86_400);
        assert_eq!(Config::check(raw(Some("1d"))).unwrap().appeal_within.secs(), 86_400);
        for wrong in ["23h", "367d", "soon"] {
            assert!(Config::check(raw(Some(wrong))).unwrap_err().to_string().contains("`appeal_within`"), "{wrong}");
        }
    }

    #[test]
    fn a_collector_is_refused_where_it_could_not_be_used() {
        let raw = |endpoint: &str, share: f64| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("k".into()),
            otlp_endpoint: Some(endpoint.into()),
            otlp_share: Some(share),
            ..RawConfig::default()
        };
        let refused = |raw: RawConfig| Config::check(raw).unwrap_err().to_string();
        for bad in ["", "127.0.0.1:4318", "grpc://a:4317", "http://a/?x=1"] {
            assert!(refused(raw(bad, 1.0)).contains("`otlp_endpoint`: must be the base address"), "{bad}");
        }
        for bad in [-0.1, 1.1, f64::NAN] {
            assert!(refused(raw("http://a", bad)).contains("`otlp_share`"), "{bad}");
        }
        let good = Config::check(raw("http://127.0.0.1:4318/", 0.5));
        if cfg!(feature = "otel") {
            let otlp = Otlp { endpoint: "http://127.0.0.1:4318".to_owned(), share: 0.5 };
            assert_eq!(good.unwrap().otlp, Some(otlp));
        } else {
            assert!(good.unwrap_err().to_string().contains("`--features otel`"));
        }
    }

    #[test]
    fn the_anchor_is_beside_the_key_unless_it_is_named_or_off() {
        let raw = |anchor: Option<&str>| RawConfig {
            public_origin: Some("https://a.example".into()),
            master_key_file: Some("/keys/master.key".into()),
            anchor_file: anchor.map(PathBuf::from),
            ..RawConfig::default()
        };
        let anchor = |text| Config::check(raw(text)).unwrap().anchor_file;
        assert_eq!(anchor(None), Some("/keys/master.key.anchor".into()));
        assert_eq!(anchor(Some("/var/anchor")), Some("/var/anchor".into()));
        assert_eq!(anchor(Some("off")), None);
        assert!(Config::check(raw(Some(""))).unwrap_err().to_string().contains("`anchor_file`"));
    }

    #[test]
    fn a_test_deployment_is_one_only_by_plain_words() {
        let raw = |value: Option<&'static str>| {
            let raw = RawConfig {
                public_origin: Some("https://a.example".into()),
                master_key_file: Some("k".into()),
                ..RawConfig::default()
            };
            raw.overlay(|name| value.filter(|_| name == "VOUCHSAFE_TEST_DEPLOYMENT").map(str::to_owned))
        };
        assert!(!Config::check(raw(None).unwrap()).unwrap().test_deployment);
        assert!(Config::check(raw(Some("true")).unwrap()).unwrap().test_deployment);
        assert!(raw(Some("yes")).unwrap_err().to_string().contains("`test_deployment`"));
    }

    #[test]
    fn plain_http_is_refused_beyond_loopback() {
        let raw = RawConfig { public_origin: Some("http://example.com".into()), ..RawConfig::default() };
        assert!(Config::check(raw).unwrap_err().to_string().contains("must be https"));
    }
}
