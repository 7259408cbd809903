//! Network databases: where an address leaves its network, and whether that means anything.

use super::countries::alpha3_of;
use maxminddb::Reader;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vouchsafe_core::Second;
use vouchsafe_core::facts::Statement;

/// Why a database cannot be used; names the file.
#[derive(Debug, thiserror::Error)]
#[error("network database `{path}` cannot be read: {problem}")]
pub struct OpenError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Such as `GeoLite2-Country`.
    pub kind: String,
    /// When it was built.
    pub built_at: Second,
    /// Whether it knows IPv6 addresses.
    pub ipv6: bool,
    /// What is wrong inside, if anything: such records count as absent.
    pub damage: Option<String>,
}

/// Reads a database whole and looks at every record of it.
///
/// # Errors
/// When the file cannot be read or is no database.
pub fn describe(path: &Path) -> Result<Description, OpenError> {
    let failed = |problem: String| OpenError { path: path.to_owned(), problem };
    let bytes = read(path).map_err(|error| failed(error.to_string()))?;
    let reader = Reader::from_source(bytes).map_err(|error| failed(error.to_string()))?;
    let metadata = reader.metadata();
    Ok(Description {
        kind: metadata.database_type.clone(),
        built_at: Second::from_epoch(i64::try_from(metadata.build_epoch).unwrap_or(i64::MAX)),
        ipv6: metadata.ip_version == 6,
        damage: reader.verify().err().map(|error| error.to_string()),
    })
}

/// Network databases in the MaxMind format, asked together. Cheap to clone.
#[derive(Clone, Default)]
pub struct GeoIp {
    readers: Arc<[Reader<Vec<u8>>]>,
}

impl fmt::Debug for GeoIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.readers.iter().map(|reader| &reader.metadata().database_type)).finish()
    }
}

impl GeoIp {
    /// Reads databases of countries or cities, autonomous systems and anonymisers into memory, in order of preference.
    ///
    /// The files are read and never mapped: one replaced in place would change under the reader.
    ///
    /// # Errors
    /// When a file cannot be read or is no database. None of them is used then.
    pub fn open(paths: &[PathBuf]) -> Result<Self, OpenError> {
        let open = |path: &PathBuf| {
            let failed = |problem: String| OpenError { path: path.clone(), problem };
            let bytes = read(path).map_err(|error| failed(error.to_string()))?;
            Reader::from_source(bytes).map_err(|error| failed(error.to_string()))
        };
        Ok(Self { readers: paths.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// No database: nothing is ever observed.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// What the databases say of an address, as a [`Statement::Network`].
    ///
    /// The first database that knows a country or an autonomous system says it; any that calls the address an
    /// anonymiser, a hosting range, a proxy or a Tor exit makes it anonymous. The registered country is not used: it
    /// says where a network's papers are. `None` when no database knows the address, for addresses that are nobody's
    /// in particular, and for 6to4, Teredo and NAT64 addresses, whose embedded IPv4 address belongs to a relay or
    /// translation. A record that cannot be read counts as absent.
    #[must_use]
    pub fn observe(&self, address: IpAddr) -> Option<Statement> {
        let address = address.to_canonical();
        if !vouchsafe_verify::address::is_public(address) {
            return None;
        }
        let (mut country, mut anonymous, mut asn, mut known) = (None, false, None, false);
        for reader in self.readers.iter() {
            let record = match reader.lookup(address).map(|found| found.decode::<Record>()) {
                Ok(Ok(Some(record))) => record,
                // An IPv4 database asked for IPv6 is an error of the reader too: it simply knows nothing.
                Ok(Ok(None)) | Ok(Err(_)) | Err(_) => continue,
            };
            let exit = record.country.and_then(|country| country.iso_code).and_then(|code| alpha3_of(&code));
            country = country.or(exit);
            asn = asn.or(record.autonomous_system_number.or(record.traits.autonomous_system_number).map(|asn| asn.0));
            anonymous |= record.flags.any() || record.traits.flags.any() || record.anonymizer.any();
            known |= country.is_some() || asn.is_some() || anonymous;
        }
        known.then(|| Statement::Network { country: country.map(str::to_owned), anonymous, asn })
    }

    /// When the oldest of the databases was built.
    #[must_use]
    pub fn build_epoch(&self) -> Option<Second> {
        let epochs = self.readers.iter().map(|reader| reader.metadata().build_epoch);
        epochs.min().and_then(|epoch| i64::try_from(epoch).ok()).map(Second::from_epoch)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// The parts of any record we use; databases have some of them.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Record {
    country: Option<Country>,
    autonomous_system_number: Option<Asn>,
    traits: Traits,
    anonymizer: Flags,
    #[serde(flatten)]
    flags: Flags,
}

#[derive(Deserialize)]
struct Country {
    #[serde(default)]
    iso_code: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Traits {
    autonomous_system_number: Option<Asn>,
    #[serde(flatten)]
    flags: Flags,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Flags {
    is_anonymous: Flag,
    is_anonymous_proxy: Flag,
    is_anonymous_vpn: Flag,
    is_hosting_provider: Flag,
    is_public_proxy: Flag,
    is_residential_proxy: Flag,
    is_tor_exit_node: Flag,
}

impl Flags {
    fn any(&self) -> bool {
        [
            &self.is_anonymous,
            &self.is_anonymous_proxy,
            &self.is_anonymous_vpn,
            &self.is_hosting_provider,
            &self.is_public_proxy,
            &self.is_residential_proxy,
            &self.is_tor_exit_node,
        ]
        .iter()
        .any(|flag| flag.0)
    }
}

/// A boolean, also as the integer some writers store.
#[derive(Default)]
struct Flag(bool);

/// An autonomous system number in whichever integer type the writer chose.
struct Asn(u32);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar).map(|value| Self(value != 0))
    }
}

impl<'de> Deserialize<'de> for Asn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(Scalar)?;
        u32::try_from(value).map(Self).map_err(|_| de::Error::custom("not an autonomous system number"))
    }
}

/// Reads booleans and integers alike.
struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a boolean or an unsigned integer")
    }

    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(u64::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::custom("negative"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::IpNet;
    use mmdb_writer::Writer;
    use serde_json::{Value, json};
    use std::time::{Duration, UNIX_EPOCH};

    const BUILT: Duration = Duration::from_secs(1_790_000_000);

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/geoip/test.mmdb")
    }

    /// A database of MaxMind's beside the repository, if it is there.
    fn shared(name: &str) -> Option<PathBuf> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/geoip").join(name);
        path.exists().then_some(path)
    }

    fn write(kind: &str, records: &[(&str, Value)]) -> Vec<u8> {
        let mut writer = Writer::builder(kind).build_epoch(UNIX_EPOCH + BUILT).build();
        for (network, record) in records {
            writer.insert(network.parse::<IpNet>().unwrap(), record).unwrap();
        }
        writer.to_bytes().unwrap()
    }

    /// What `fixtures/geoip/test.mmdb` holds.
    fn fixture_bytes() -> Vec<u8> {
        let country = |code: &str, asn: u32| json!({"country": {"iso_code": code}, "autonomous_system_number": asn});
        let mut vpn = country("US", 64_502);
        vpn["traits"] = json!({"is_anonymous": true, "is_anonymous_vpn": true});
        write(
            "Vouchsafe-Test",
            &[
                ("192.0.2.0/24", country("US", 64_500)),
                ("2001:db8::/32", country("US", 64_500)),
                ("198.51.100.0/24", country("IR", 64_501)),
                ("203.0.113.0/24", vpn),
            ],
        )
    }

    fn open(databases: &[Vec<u8>]) -> GeoIp {
        let readers = databases.iter().map(|bytes| Reader::from_source(bytes.clone()).unwrap()).collect();
        GeoIp { readers }
    }

    fn network(country: Option<&str>, anonymous: bool, asn: Option<u32>) -> Option<Statement> {
        Some(Statement::Network { country: country.map(str::to_owned), anonymous, asn })
    }

    fn at(geoip: &GeoIp, address: &str) -> Option<Statement> {
        geoip.observe(address.parse().unwrap())
    }

    /// Writes the fixture anew: `cargo test -- --ignored rewrites_the_fixture`.
    #[test]
    #[ignore = "writes a file of the repository"]
    fn rewrites_the_fixture() {
        std::fs::create_dir_all(fixture().parent().unwrap()).unwrap();
        std::fs::write(fixture(), fixture_bytes()).unwrap();
    }

    #[test]
    fn the_committed_fixture_is_what_the_generator_writes() {
        assert!(std::fs::read(fixture()).unwrap() == fixture_bytes());
    }

    #[test]
    fn the_fixture_answers() {
        let geoip = GeoIp::open(&[fixture()]).unwrap();
        assert_eq!(at(&geoip, "192.0.2.1"), network(Some("USA"), false, Some(64_500)));
        assert_eq!(at(&geoip, "::ffff:192.0.2.1"), network(Some("USA"), false, Some(64_500)));
        assert_eq!(at(&geoip, "2001:db8::1"), network(Some("USA"), false, Some(64_500)));
        assert_eq!(at(&geoip, "198.51.100.255"), network(Some("IRN"), false, Some(64_501)));
        assert_eq!(at(&geoip, "203.0.113.9"), network(Some("USA"), true, Some(64_502)));
        assert_eq!(at(&geoip, "8.8.8.8"), None);
        assert_eq!(at(&geoip, "2620:fe::9"), None);
        assert_eq!(geoip.build_epoch(), Some(Second::from_epoch(1_790_000_000)));
    }

    #[test]
    fn without_databases_nothing_is_observed() {
        assert_eq!(at(&GeoIp::empty(), "192.0.2.1"), None);
        assert_eq!(GeoIp::empty().build_epoch(), None);
        assert_eq!(at(&GeoIp::open(&[]).unwrap(), "192.0.2.1"), None);
    }

    #[test]
    fn addresses_without_a_place_say_nothing_even_if_a_database_knows_them() {
        let everywhere = json!({"country": {"iso_code": "US"}});
        let geoip = open(&[write("All", &[("0.0.0.0/0", everywhere.clone()), ("::/0", everywhere)])]);
        for address in [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "::192.0.2.1",
            "2002:c000:201::1",
            "2001:0:c000:201::1",
            "2001:1ff::1",
            "64:ff9b::192.0.2.1",
            "64:ff9b:1::1",
            "100::1",
        ] {
            assert_eq!(at(&geoip, address), None, "{address}");
        }
        for address in
            ["100.63.255.255", "100.128.0.1", "172.32.0.1", "198.20.0.1", "223.255.255.255", "2001:200::1", "2003::1"]
        {
            assert!(at(&geoip, address).is_some(), "{address}");
        }
    }

    #[test]
    fn databases_complete_each_other_and_the_first_wins() {
        let countries = write("Country", &[("192.0.2.0/24", json!({"country": {"iso_code": "US"}}))]);
        let other = write("Country", &[("192.0.0.0/16", json!({"country": {"iso_code": "CA"}}))]);
        let asns = write("ASN", &[("192.0.2.0/24", json!({"autonomous_system_number": 64_500}))]);
        let anonymous = write("Anonymous", &[("192.0.2.128/25", json!({"is_hosting_provider": true}))]);
        let geoip = open(&[countries, asns, anonymous, other]);
        assert_eq!(at(&geoip, "192.0.2.1"), network(Some("USA"), false, Some(64_500)));
        assert_eq!(at(&geoip, "192.0.2.200"), network(Some("USA"), true, Some(64_500)));
        assert_eq!(at(&geoip, "192.0.3.1"), network(Some("CAN"), false, None));
    }

    #[test]
    fn every_flag_wherever_it_stands_makes_it_anonymous() {
        for flag in [
            "is_anonymous",
            "is_anonymous_proxy",
            "is_anonymous_vpn",
            "is_hosting_provider",
            "is_public_proxy",
            "is_residential_proxy",
            "is_tor_exit_node",
        ] {
            for value in [json!(true), json!(1_u32)] {
                for record in
                    [json!({flag: value}), json!({"traits": {flag: value}}), json!({"anonymizer": {flag: value}})]
                {
                    let geoip = open(&[write("X", &[("192.0.2.0/24", record.clone())])]);
                    assert_eq!(at(&geoip, "192.0.2.1"), network(None, true, None), "{record}");
                }
            }
            let geoip = open(&[write("X", &[("192.0.2.0/24", json!({flag: false}))])]);
            assert_eq!(at(&geoip, "192.0.2.1"), None);
        }
    }

    #[test]
    fn odd_records_say_nothing_and_do_not_silence_other_databases() {
        let good = write("Good", &[("192.0.2.0/24", json!({"country": {"iso_code": "US"}}))]);
        for record in [
            json!("text"),
            json!([]),
            json!({}),
            json!({"country": "US"}),
            json!({"country": {"iso_code": 1}}),
            json!({"country": {"iso_code": "us"}}),
            json!({"country": {"iso_code": "ZZ"}}),
            json!({"registered_country": {"iso_code": "IR"}}),
            json!({"represented_country": {"iso_code": "IR"}}),
            json!({"is_anonymous": "yes"}),
            json!({"autonomous_system_number": "AS1"}),
        ] {
            let odd = write("Odd", &[("192.0.2.0/24", record.clone())]);
            assert_eq!(at(&open(std::slice::from_ref(&odd)), "192.0.2.1"), None, "{record}");
            assert_eq!(at(&open(&[odd, good.clone()]), "192.0.2.1"), network(Some("USA"), false, None), "{record}");
        }
    }

    #[test]
    fn an_ipv4_database_knows_no_ipv6() {
        let mut writer = Writer::builder("V4").ip_version(mmdb_writer::IpVersion::V4).build();
        writer.insert("192.0.2.0/24".parse::<IpNet>().unwrap(), &json!({"country": {"iso_code": "US"}})).unwrap();
        let geoip = open(&[writer.to_bytes().unwrap()]);
        assert_eq!(at(&geoip, "2001:db8::1"), None);
        assert_eq!(at(&geoip, "::ffff:192.0.2.1"), network(Some("USA"), false, None));
    }

    #[test]
    fn databases_are_as_old_as_the_oldest() {
        let later = Writer::builder("Later").build_epoch(UNIX_EPOCH + BUILT * 2).build().to_bytes().unwrap();
        for order in [[fixture_bytes(), later.clone()], [later, fixture_bytes()]] {
            assert_eq!(open(&order).build_epoch(), Some(Second::from_epoch(1_790_000_000)));
        }
    }

    #[test]
    fn files_that_are_no_database_are_refused_by_name() {
        let missing = PathBuf::from("/nonexistent/x.mmdb");
        assert_eq!(GeoIp::open(&[fixture(), missing.clone()]).unwrap_err().path, missing);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert_eq!(GeoIp::open(std::slice::from_ref(&source)).unwrap_err().path, source);
    }

    #[test]
    fn damaged_databases_never_panic() {
        let whole = fixture_bytes();
        for cut in (0..whole.len()).step_by(7) {
            if let Ok(reader) = Reader::from_source(whole[..cut].to_vec()) {
                let _ = at(&GeoIp { readers: Arc::new([reader]) }, "192.0.2.1");
            }
            let mut flipped = whole.clone();
            flipped[cut] ^= 0x5a;
            if let Ok(reader) = Reader::from_source(flipped) {
                let geoip = GeoIp { readers: Arc::new([reader]) };
                for address in ["192.0.2.1", "203.0.113.1", "2001:db8::1"] {
                    let _ = at(&geoip, address);
                }
            }
        }
    }

    #[test]
    fn real_databases_of_every_kind_answer() {
        let names = ["GeoIP2-City-Test.mmdb", "GeoLite2-ASN-Test.mmdb", "GeoIP2-Anonymous-IP-Test.mmdb"];
        let Some(paths) = names.into_iter().map(shared).collect::<Option<Vec<_>>>() else { return };
        let geoip = GeoIp::open(&paths).unwrap();
        assert!(
            matches!(at(&geoip, "81.2.69.142"), Some(Statement::Network { country: Some(c), anonymous: true, .. }) if c == "GBR")
        );
        assert!(
            matches!(at(&geoip, "89.160.20.128"), Some(Statement::Network { country: Some(c), anonymous: false, asn: Some(29518) }) if c == "SWE")
        );
        assert!(matches!(at(&geoip, "1.2.0.1"), Some(Statement::Network { anonymous: true, .. })));
        assert!(geoip.build_epoch().is_some());
        let plus = GeoIp::open(&[shared("GeoIP-Anonymous-Plus-Test.mmdb").unwrap()]).unwrap();
        assert!(matches!(at(&plus, "1.2.0.1"), Some(Statement::Network { anonymous: true, .. })));
        let country = GeoIp::open(&[shared("GeoIP2-Country-Test.mmdb").unwrap()]).unwrap();
        assert!(matches!(at(&country, "2001:218::1"), Some(Statement::Network { country: Some(c), .. }) if c == "JPN"));
    }
}
