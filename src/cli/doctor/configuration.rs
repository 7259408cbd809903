//! Every key of the configuration: where it comes from, whether it is known, whether its value is wise.

use crate::cli::{ConfigArgs, flagged};
use crate::config::{Config, ConfigError, RawConfig};
use crate::finding::{Finding, files};
use serde_json::Value;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// What came of reading.
pub(super) struct Read {
    pub(super) findings: Vec<Finding>,
    /// With stand-ins for what was refused, so that the rest can be looked at.
    pub(super) config: Option<Config>,
    /// Keys whose values could not be used.
    pub(super) refused: Vec<&'static str>,
}

/// Names this near, from 0 to 1, were meant.
const NEAR: f64 = 0.8;

pub(super) fn read(args: &ConfigArgs, environment: &[(String, String)]) -> Read {
    let (raw, mut findings) = file(args.config.as_deref());
    findings.extend(strangers(environment));
    let mut refused = Vec::new();
    let overlaid = overlay(&raw, environment, &mut findings, &mut refused);
    let config = check(flagged(overlaid, args), &mut findings, &mut refused);
    if findings.is_empty() {
        findings.push(Finding::ok("configuration", "every key is known and its value can be used"));
    }
    if let Some(config) = &config {
        findings.extend(wisdom(config, &refused));
    }
    if let Some(path) = &args.config
        && path.exists()
    {
        let secret = raw.database.as_deref().is_some_and(holds_password);
        findings.push(files::mode("configuration.mode", path, if secret { 0o640 } else { 0o644 }));
    }
    Read { findings, config, refused }
}

fn unusable(problem: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding::failure("configuration", problem, "the service does not start", remedy)
}

/// All keys, and all variables that are read.
fn names() -> (Vec<String>, Vec<String>) {
    let keys = match serde_json::to_value(RawConfig::default()) {
        Ok(Value::Object(members)) => members.keys().cloned().collect(),
        _ => Vec::new(),
    };
    let asked = RefCell::new(vec!["VOUCHSAFE_CONFIG".to_owned()]);
    let _ = RawConfig::default().overlay(|name| {
        asked.borrow_mut().push(name.to_owned());
        None
    });
    (keys, asked.into_inner())
}

/// The name that was probably meant.
fn nearest(name: &str, among: &[String]) -> String {
    let near = |other: &&String| strsim::jaro_winkler(name, other);
    match among.iter().max_by(|a, b| near(a).total_cmp(&near(b))) {
        Some(best) if near(&best) >= NEAR => format!("did you mean `{best}`? else remove it"),
        _ => "remove it; README lists the keys".to_owned(),
    }
}

fn file(path: Option<&Path>) -> (RawConfig, Vec<Finding>) {
    let Some(path) = path else { return (RawConfig::default(), Vec::new()) };
    let shown = path.display();
    let table: toml::Table = match std::fs::read_to_string(path).map(|text| text.parse()) {
        Ok(Ok(table)) => table,
        Ok(Err(error)) => {
            let finding = unusable(format!("configuration file `{shown}`: {error}"), "correct it where it says");
            return (RawConfig::default(), vec![finding]);
        }
        Err(error) => {
            let finding = unusable(format!("configuration file `{shown}`: {error}"), "check `--config` and its mode");
            return (RawConfig::default(), vec![finding]);
        }
    };
    let (keys, _) = names();
    let mut findings = Vec::new();
    let mut usable = toml::Table::new();
    for (key, value) in table {
        if !keys.contains(&key) {
            let problem = format!("configuration file `{shown}` has an unknown key `{key}`");
            findings.push(unusable(problem, nearest(&key, &keys)));
            continue;
        }
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        match alone.try_into::<RawConfig>() {
            Ok(_) => drop(usable.insert(key, value)),
            Err(error) => {
                let problem = format!("configuration key `{key}` in `{shown}`: {}", error.message());
                findings.push(unusable(problem, "give it a value as README says"));
            }
        }
    }
    (usable.try_into().unwrap_or_default(), findings)
}

/// Variables that look like ours and that nothing reads.
fn strangers(environment: &[(String, String)]) -> Vec<Finding> {
    let (_, known) = names();
    environment
        .iter()
        .filter(|(name, _)| name.starts_with("VOUCHSAFE_") && !known.contains(name))
        .map(|(name, _)| {
            let why = "nothing reads it, so what it was to set is at its default";
            Finding::warning("configuration", format!("unknown variable `{name}`"), why, nearest(name, &known))
        })
        .collect()
}

/// Variables over the file. One that cannot be used is left out, so that the others are seen.
fn overlay(
    raw: &RawConfig,
    environment: &[(String, String)],
    findings: &mut Vec<Finding>,
    refused: &mut Vec<&'static str>,
) -> RawConfig {
    loop {
        let left_out: Vec<String> = refused.iter().map(|key| format!("VOUCHSAFE_{}", key.to_uppercase())).collect();
        let get = |name: &str| {
            let found = environment.iter().find(|(other, _)| other == name && !left_out.contains(other));
            found.map(|(_, value)| value.clone())
        };
        match raw.clone().overlay(get) {
            Ok(overlaid) => return overlaid,
            Err(error) => {
                let ConfigError::Key { key, .. } = &error else { return raw.clone() };
                let again = refused.contains(key);
                findings.push(unusable(error.to_string(), "give it a value as README says"));
                refused.push(key);
                if again {
                    return raw.clone();
                }
            }
        }
    }
}

/// Checks every key: one that is refused gets a stand-in, and the next is looked at.
fn check(raw: RawConfig, findings: &mut Vec<Finding>, refused: &mut Vec<&'static str>) -> Option<Config> {
    let mut members = serde_json::to_value(raw).ok()?;
    loop {
        let error = match Config::check(serde_json::from_value(members.clone()).ok()?) {
            Ok(config) => return Some(config),
            Err(error) => error,
        };
        let problem = error.to_string();
        findings.push(unusable(problem, "set it in the file, or as `VOUCHSAFE_` and its name in capitals"));
        let ConfigError::Key { key, .. } = error else { return None };
        let stand_in = match key {
            "public_origin" => Value::from("https://unknown.invalid"),
            "master_key_file" => Value::from("/nowhere"),
            _ => Value::Null,
        };
        let slot = members.get_mut(key)?;
        if *slot == stand_in {
            return None;
        }
        *slot = stand_in;
        refused.push(key);
    }
}

fn holds_password(database: &str) -> bool {
    reqwest::Url::parse(database)
        .is_ok_and(|url| url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password"))
}

/// Values that can be used and hardly should.
fn wisdom(config: &Config, refused: &[&'static str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !refused.contains(&"public_origin") {
        findings.push(origin(&config.public_origin));
    }
    findings.extend(addresses(config, refused));
    for network in &config.proxies.trusted {
        let (length, wide) = (network.prefix_len(), if network.addr().is_ipv4() { 8 } else { 32 });
        let why = "whoever is in it chooses the address they are judged and limited by";
        let remedy = "name the addresses of the proxies in front, and nothing else";
        if length == 0 {
            let found = format!("`trusted_proxies` has `{network}`: everybody is believed");
            findings.push(Finding::failure("configuration.trusted_proxies", found, why, remedy));
        } else if length < wide {
            let found = format!("`trusted_proxies` has the wide network `{network}`");
            findings.push(Finding::warning("configuration.trusted_proxies", found, why, remedy));
        }
    }
    if config.quotas.token.is_none() {
        findings.push(Finding::warning(
            "configuration.rate_limit_token",
            "`rate_limit_token` is off",
            "secrets of clients can be guessed at without limit",
            "set it to a number such as the default `600/60`",
        ));
    }
    findings
}

fn origin(origin: &str) -> Finding {
    let check = "configuration.public_origin";
    let host = reqwest::Url::parse(origin).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    // RFC 2606 and RFC 6761: names that belong to nobody.
    let reserved = ["example", "invalid", "test", "localhost"].iter().any(|top| host.rsplit('.').next() == Some(top))
        || ["example.com", "example.net", "example.org"].iter().any(|name| host.ends_with(name));
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let why =
        "it is the issuer of every token, and verifiers fetch our keys from there; changing it later ends them all";
    let remedy = "set `public_origin` to the name by which others reach the service";
    if reserved {
        Finding::warning(check, format!("`{origin}` is a name for examples and tests"), why, remedy)
    } else if address {
        Finding::warning(check, format!("`{origin}` is an address, not a name"), why, remedy)
    } else {
        Finding::ok(check, format!("tokens are issued as `{origin}`"))
    }
}

fn addresses(config: &Config, refused: &[&'static str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let beyond = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    if !refused.contains(&"admin_listen") && beyond(config.admin_listen) {
        findings.push(Finding::warning(
            "configuration.admin_listen",
            format!("`admin_listen` is `{}`, which others can reach", config.admin_listen),
            "metrics and health are shown to whoever asks, and they tell how the service is used",
            "listen on loopback, or on an address that only monitoring reaches",
        ));
    }
    if !refused.contains(&"listen") && beyond(config.listen) && config.proxies.trusted.is_empty() {
        findings.push(Finding::warning(
            "configuration.listen",
            format!("`listen` is `{}`, and no proxy is trusted", config.listen),
            "the service speaks plain HTTP: tokens and evidence can be read on the way",
            "put a proxy with TLS in front, name it in `trusted_proxies`, and listen where only it reaches",
        ));
    }
    if let Some(address) = config.grpc_listen.filter(|address| beyond(*address)) {
        findings.push(Finding::warning(
            "configuration.grpc_listen",
            format!("`grpc_listen` is `{address}`, which others can reach"),
            "the service speaks plain HTTP/2: gateway keys and tokens can be read on the way",
            "listen on loopback beside the gateway, or on a network that is encrypted by other means",
        ));
    }
    if config.grpc_listen.is_some_and(|grpc| grpc.port() != 0 && [config.listen, config.admin_listen].contains(&grpc)) {
        findings.push(unusable(
            "`grpc_listen` is the address of another listener".to_owned(),
            "give the listener for gRPC a port of its own",
        ));
    }
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        findings.push(unusable(
            format!("`listen` and `admin_listen` are both `{}`", config.listen),
            "give the admin listener a port of its own",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    const GOOD: [(&str, &str); 2] =
        [("VOUCHSAFE_PUBLIC_ORIGIN", "https://a.eligibility.net"), ("VOUCHSAFE_MASTER_KEY_FILE", "k")];

    fn with(file: Option<&str>, environment: &[(&str, &str)]) -> Read {
        let name = format!("vouchsafe_config_{}_{:?}.toml", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        if let Some(text) = file {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let args = ConfigArgs {
            config: file.map(|_| path.clone()),
            database: None,
            listen: None,
            admin_listen: None,
            json: false,
        };
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let read = read(&args, &environment);
        let _ = std::fs::remove_file(&path);
        read
    }

    fn says(read: &Read, level: Level, text: &str) {
        let hit = read
            .findings
            .iter()
            .any(|finding| finding.level == level && (finding.found.contains(text) || finding.remedy.contains(text)));
        assert!(hit, "nothing says `{text}` as {level:?}: {:#?}", read.findings);
    }

    #[test]
    fn a_configuration_in_order_gives_no_warning() {
        let read = with(Some("log = \"json\"\n"), &GOOD);
        assert!(read.findings.iter().all(|finding| finding.level == Level::Ok), "{:#?}", read.findings);
        assert!(read.config.is_some() && read.refused.is_empty());
    }

    #[test]
    fn every_bad_key_is_named_and_the_rest_is_still_read() {
        let file = "listne = \"127.0.0.1:1\"\nlog = 5\ndatabase = \"sqlite:a.db\"\ngeoip = \"x\"\n";
        let environment =
            [("VOUCHSAFE_LISTEN", "nowhere"), ("VOUCHSAFE_MASTER_KEYFILE", "k"), ("VOUCHSAFE_LOG", "loud")];
        let read = with(Some(file), &environment);
        says(&read, Level::Failure, "unknown key `listne`");
        says(&read, Level::Failure, "did you mean `listen`?");
        says(&read, Level::Failure, "configuration key `log` in");
        says(&read, Level::Failure, "configuration key `geoip` in");
        says(&read, Level::Failure, "configuration key `log`: must be `human` or `json`");
        says(&read, Level::Failure, "configuration key `listen`: `nowhere` is not an address");
        says(&read, Level::Failure, "configuration key `public_origin`: is required");
        says(&read, Level::Failure, "configuration key `master_key_file`: is required");
        says(&read, Level::Warning, "unknown variable `VOUCHSAFE_MASTER_KEYFILE`");
        says(&read, Level::Warning, "did you mean `VOUCHSAFE_MASTER_KEY_FILE`?");
        assert_eq!(read.config.unwrap().database, "sqlite:a.db", "the rest goes on");
        says(&with(Some("listen = \n"), &GOOD), Level::Failure, "line 1");
    }

    #[test]
    fn every_key_can_be_set_in_the_environment() {
        let (keys, variables) = names();
        assert!(keys.len() > 10);
        for key in keys {
            assert!(variables.contains(&format!("VOUCHSAFE_{}", key.to_uppercase())), "{key}");
        }
    }

    #[test]
    fn values_that_hardly_should_be_are_told() {
        let and = |name: &'static str, value: &'static str| with(None, &[GOOD[0], GOOD[1], (name, value)]);
        says(&and("VOUCHSAFE_TRUSTED_PROXIES", "0.0.0.0/0"), Level::Failure, "everybody is believed");
        says(&and("VOUCHSAFE_TRUSTED_PROXIES", "::/0"), Level::Failure, "everybody is believed");
        says(&and("VOUCHSAFE_TRUSTED_PROXIES", "10.0.0.0/7"), Level::Warning, "wide network");
        says(&and("VOUCHSAFE_ADMIN_LISTEN", "0.0.0.0:9090"), Level::Warning, "which others can reach");
        says(&and("VOUCHSAFE_GRPC_LISTEN", "0.0.0.0:9191"), Level::Warning, "which others can reach");
        says(&and("VOUCHSAFE_GRPC_LISTEN", "127.0.0.1:9090"), Level::Failure, "of another listener");
        says(&and("VOUCHSAFE_LISTEN", "[::]:8080"), Level::Warning, "no proxy is trusted");
        says(&and("VOUCHSAFE_LISTEN", "127.0.0.1:9090"), Level::Failure, "are both");
        says(&and("VOUCHSAFE_RATE_LIMIT_TOKEN", "off"), Level::Warning, "`rate_limit_token` is off");
        for origin in ["http://127.0.0.1:8080", "https://192.0.2.1", "https://[2001:db8::1]"] {
            says(&with(None, &[("VOUCHSAFE_PUBLIC_ORIGIN", origin), GOOD[1]]), Level::Warning, "is an address");
        }
        let example = with(None, &[("VOUCHSAFE_PUBLIC_ORIGIN", "https://eligibility.example"), GOOD[1]]);
        says(&example, Level::Warning, "examples and tests");
    }

    #[test]
    fn a_readable_file_with_a_password_is_told() {
        says(&with(Some("database = \"postgres://u:secret@h/d\"\n"), &GOOD), Level::Failure, "chmod 0640");
        says(&with(Some("database = \"postgres://u@h/d\"\n"), &GOOD), Level::Ok, "has mode 0644");
    }
}
