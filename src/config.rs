//! Configuration: built-in defaults, then the file, then `VOUCHSAFE_*`, then flags. Every key is safe when absent or refused at start by name.

use crate::http::limits::{Quota, Quotas};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// What the file may say; all keys optional.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// `https://…`, the issuer of our tokens.
    pub public_origin: Option<String>,
    /// Address of the public listener.
    pub listen: Option<String>,
    /// Address of the admin listener: `/metrics`, `/livez`, `/readyz`.
    pub admin_listen: Option<String>,
    /// `sqlite:PATH` or `postgres://…`.
    pub database: Option<String>,
    /// 32 bytes, mode 0400.
    pub master_key_file: Option<PathBuf>,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Option<Vec<String>>,
    /// `REQUESTS/SECONDS` of one client, or `off`.
    pub rate_limit_client: Option<String>,
    /// The same of one gateway.
    pub rate_limit_gateway: Option<String>,
    /// The same of one address at public endpoints.
    pub rate_limit_public: Option<String>,
    /// The same of one address at the token endpoint.
    pub rate_limit_token: Option<String>,
    /// MaxMind databases.
    pub geoip: Option<Vec<PathBuf>>,
    /// Whether evidence may be made up; for the whole life of a database.
    pub test_deployment: Option<bool>,
    /// `human` or `json`.
    pub log: Option<LogFormat>,
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
        set(&mut self.database, "VOUCHSAFE_DATABASE");
        set(&mut self.rate_limit_client, "VOUCHSAFE_RATE_LIMIT_CLIENT");
        set(&mut self.rate_limit_gateway, "VOUCHSAFE_RATE_LIMIT_GATEWAY");
        set(&mut self.rate_limit_public, "VOUCHSAFE_RATE_LIMIT_PUBLIC");
        set(&mut self.rate_limit_token, "VOUCHSAFE_RATE_LIMIT_TOKEN");
        if let Some(path) = get("VOUCHSAFE_MASTER_KEY_FILE") {
            self.master_key_file = Some(path.into());
        }
        if let Some(text) = get("VOUCHSAFE_TRUSTED_PROXIES") {
            self.trusted_proxies = Some(list(text));
        }
        if let Some(text) = get("VOUCHSAFE_GEOIP") {
            let paths: Vec<String> = list(text);
            self.geoip = Some(paths.into_iter().map(PathBuf::from).collect());
        }
        if let Some(text) = get("VOUCHSAFE_TEST_DEPLOYMENT") {
            let problem = || "must be `true` or `false`".to_owned();
            self.test_deployment =
                Some(text.parse().map_err(|_| ConfigError::Key { key: "test_deployment", problem: problem() })?);
        }
        if let Some(text) = get("VOUCHSAFE_LOG") {
            self.log = Some(match text.as_str() {
                "human" => LogFormat::Human,
                "json" => LogFormat::Json,
                _ => return Err(ConfigError::Key { key: "log", problem: "must be `human` or `json`".to_owned() }),
            });
        }
        Ok(self)
    }
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
    /// Database URL.
    pub database: String,
    /// Master key file.
    pub master_key_file: PathBuf,
    /// Networks whose forwarded addresses are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Who may ask how often.
    pub quotas: Quotas,
    /// Network databases.
    pub geoip: Vec<PathBuf>,
    /// Whether evidence may be made up.
    pub test_deployment: bool,
    /// Log format.
    pub log: LogFormat,
}

impl Config {
    /// Checks every key.
    ///
    /// # Errors
    /// Naming the key and what to do.
    pub fn check(raw: RawConfig) -> Result<Self, ConfigError> {
        let key = |key: &'static str, problem: String| ConfigError::Key { key, problem };
        let address = |name: &'static str, text: Option<String>, default: &str| {
            let text = text.unwrap_or_else(|| default.to_owned());
            text.parse().map_err(|_| key(name, format!("`{text}` is not an address such as `127.0.0.1:8080`")))
        };
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
        let trusted_proxies = raw
            .trusted_proxies
            .unwrap_or_default()
            .iter()
            .map(|text| {
                text.parse::<ipnet::IpNet>()
                    .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
                    .map_err(|_| key("trusted_proxies", format!("`{text}` is not a network such as `10.0.0.0/8`")))
            })
            .collect::<Result<_, _>>()?;
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
        Ok(Self {
            quotas,
            public_origin: origin.trim_end_matches('/').to_owned(),
            listen: address("listen", raw.listen, "127.0.0.1:8080")?,
            admin_listen: address("admin_listen", raw.admin_listen, "127.0.0.1:9090")?,
            database: raw.database.unwrap_or_else(|| "sqlite:vouchsafe.db".to_owned()),
            master_key_file: raw.master_key_file.ok_or_else(|| {
                key("master_key_file", "is required; create one with `vouchsafe keys master FILE`".to_owned())
            })?,
            trusted_proxies,
            geoip: raw.geoip.unwrap_or_default(),
            test_deployment: raw.test_deployment.unwrap_or(false),
            log: raw.log.unwrap_or(LogFormat::Human),
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
