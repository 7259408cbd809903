//! Which address a request came from, behind proxies we run.

use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use vouchsafe_verify::address::is_public;

/// Longest header read, all its lines together, in bytes.
const MAX_LENGTH: usize = 4096;

/// Most entries read.
const MAX_ENTRIES: usize = 64;

/// The prefix that any translator may use (RFC 6052 section 2.1).
const WELL_KNOWN: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// By which header our proxies say whom they forward for. Only that one is read: a proxy passes on the other as it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl ForwardedHeader {
    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// What a proxy appends that saw a request come from this address.
    #[must_use]
    pub fn entry(self, address: &str) -> String {
        match self {
            Self::XForwardedFor => address.to_owned(),
            Self::Forwarded if address.contains(':') => format!("for=\"[{address}]\""),
            Self::Forwarded => format!("for={address}"),
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::XForwardedFor, Self::Forwarded].into_iter().find(|header| header.name().eq_ignore_ascii_case(name))
    }
}

/// The proxies we run.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their networks; nobody else's word is believed.
    pub trusted: Vec<IpNet>,
    /// How they say whom they forward for.
    pub header: ForwardedHeader,
    /// Prefixes of translators of ours from IPv4 to IPv6, beside the well-known `64:ff9b::/96` (RFC 6052).
    pub nat64: Vec<Ipv6Net>,
}

impl Proxies {
    /// The client's address: the first, read from right to left, that is not one of our own proxies.
    ///
    /// `peer` is the socket's other end; `lines` holds the values of all lines of the header in order. Only what a trusted
    /// proxy wrote is believed: an untrusted peer is itself the client, whatever its headers claim. When every entry is
    /// trusted, the left-most is the client. An entry may carry a port or brackets (`192.0.2.1:4711`,
    /// `[2001:db8::1]:443`); a zone is refused. IPv4 mapped into IPv6 is the IPv4 address.
    ///
    /// A client whose address a translator (NAT64) made is the IPv4 address within, if that has a place in the public
    /// network; a proxy earns no trust by what is within. 6to4 and Teredo addresses stay as they are: anybody may make
    /// them, and what they embed is a relay or a claim.
    ///
    /// `None` means no evidence: an entry that had to be read is no address (`unknown`, `_hidden`, nothing between two
    /// commas), or the header exceeds 4 KiB or 64 entries.
    #[must_use]
    pub fn client(&self, peer: IpAddr, lines: &[&str]) -> Option<IpAddr> {
        let mut client = peer.to_canonical();
        if self.trusts(client) {
            let length = lines.iter().map(|line| line.len()).fold(0_usize, usize::saturating_add);
            let entries = lines.iter().flat_map(|line| line.split(',')).count();
            if length > MAX_LENGTH || entries > MAX_ENTRIES {
                return None;
            }
            for entry in lines.iter().rev().flat_map(|line| FromRight { rest: Some(line), header: self.header }) {
                client = match self.header {
                    ForwardedHeader::XForwardedFor => parse_entry(entry)?,
                    ForwardedHeader::Forwarded => forwarded_for(entry)?,
                };
                if !self.trusts(client) {
                    break;
                }
            }
        }
        Some(self.untranslated(client))
    }

    /// A proxy configured as `10.0.0.0/8` is trusted however its address is written, and so is one configured as mapped.
    fn trusts(&self, address: IpAddr) -> bool {
        let mapped = match address {
            IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
            IpAddr::V6(_) => None,
        };
        let contains =
            |network: &IpNet| network.contains(&address) || mapped.is_some_and(|mapped| network.contains(&mapped));
        self.trusted.iter().any(contains)
    }

    fn untranslated(&self, address: IpAddr) -> IpAddr {
        let IpAddr::V6(v6) = address else { return address };
        let prefix = self.nat64.iter().chain([&WELL_KNOWN]).find(|prefix| prefix.contains(&v6));
        // SECURITY: a translator makes no address of a host of ours (RFC 6052 section 3.1); whoever does means no good.
        let within = prefix.and_then(|prefix| embedded(v6, prefix.prefix_len())).map(IpAddr::V4);
        within.filter(|within| is_public(*within)).unwrap_or(address)
    }
}

/// The IPv4 address in one that a translator made (RFC 6052 section 2.2): behind the prefix, around the octet of zeros.
fn embedded(address: Ipv6Addr, prefix_len: u8) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let places: [usize; 4] = match prefix_len {
        32 => [4, 5, 6, 7],
        40 => [5, 6, 7, 9],
        48 => [6, 7, 9, 10],
        56 => [7, 9, 10, 11],
        64 => [9, 10, 11, 12],
        96 => [12, 13, 14, 15],
        _ => return None,
    };
    let [a, b, c, d] = places.map(|place| octets.get(place).copied());
    let reserved = octets.get(8).copied();
    (prefix_len == 96 || reserved == Some(0)).then_some(Ipv4Addr::new(a?, b?, c?, d?))
}

/// Whether prefixes of this length carry an IPv4 address (RFC 6052 section 2.2).
#[must_use]
pub fn is_nat64_length(prefix_len: u8) -> bool {
    matches!(prefix_len, 32 | 40 | 48 | 56 | 64 | 96)
}

/// Entries of a line from right to left: what a trusted proxy appended is read before anything that others wrote.
struct FromRight<'l> {
    rest: Option<&'l str>,
    header: ForwardedHeader,
}

impl<'l> Iterator for FromRight<'l> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        let line = self.rest?;
        let comma = match self.header {
            ForwardedHeader::XForwardedFor => line.rfind(','),
            ForwardedHeader::Forwarded => last_unquoted_comma(line),
        };
        let (rest, entry) = match comma.and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?))) {
            Some((rest, entry)) => (Some(rest), entry),
            None => (None, line),
        };
        self.rest = rest;
        Some(entry)
    }
}

/// The last comma that does not stand in a quoted string. Read from the right, so that a quote which somebody left open to
/// the left of our proxy's entry reaches nothing.
fn last_unquoted_comma(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let mut quoted = false;
    for (at, byte) in bytes.iter().enumerate().rev() {
        match byte {
            b'"' => {
                let before = bytes.get(..at).unwrap_or_default();
                let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
                if !(quoted && escapes % 2 == 1) {
                    quoted = !quoted;
                }
            }
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The address in `for` of one element of `Forwarded` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in unquoted_parts(element)? {
        let pair = pair.trim_matches([' ', '\t']);
        let Some((name, value)) = pair.split_once('=') else { if pair.is_empty() { continue } else { return None } };
        if !name.eq_ignore_ascii_case("for") {
            continue;
        }
        // Twice is not once.
        if found.replace(value).is_some() {
            return None;
        }
    }
    let value = found?;
    match value.strip_prefix('"') {
        // An address has nothing that had to be escaped.
        Some(rest) => parse_node(rest.strip_suffix('"').filter(|node| !node.contains(['"', '\\']))?),
        // A token has neither colons nor brackets: only IPv4 without a port goes without quotes.
        None => value.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// What stands between semicolons outside quoted strings; `None` where a string is left open.
fn unquoted_parts(element: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begun, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in element.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(element.get(begun..at)?);
                begun = at + 1;
            }
            _ => {}
        }
    }
    parts.push(element.get(begun..)?);
    (!quoted).then_some(parts)
}

/// A node of RFC 7239 section 6 that is an address: IPv6 stands in brackets, a port may be a hidden one.
fn parse_node(node: &str) -> Option<IpAddr> {
    let is_port = |port: &str| {
        let hidden =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        port.strip_prefix('_').map_or(digits && port.parse::<u16>().is_ok(), hidden)
    };
    if let Some(rest) = node.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let address = IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?).to_canonical();
        return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address);
    }
    let (host, port) = node.split_once(':').map_or((node, None), |(host, port)| (host, Some(port)));
    let address = IpAddr::V4(host.parse::<Ipv4Addr>().ok()?);
    port.is_none_or(is_port).then_some(address)
}

/// The address in one entry of `X-Forwarded-For`.
fn parse_entry(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim_matches([' ', '\t']);
    // SECURITY: the standard parser takes a zone in `[fe80::1%1]:80`, which names an interface of someone else's host.
    if entry.contains('%') {
        return None;
    }
    let address = if let Ok(address) = entry.parse::<IpAddr>() {
        address
    } else if let Some(inner) = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?)
    } else if entry.starts_with('[') {
        entry.parse::<SocketAddr>().ok()?.ip()
    } else {
        let (host, port) = entry.split_once(':')?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        port.parse::<u16>().ok()?;
        IpAddr::V4(host.parse::<Ipv4Addr>().ok()?)
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn table() -> Value {
        serde_json::from_str(include_str!("../../fixtures/client-address.json")).unwrap()
    }

    fn list<T: std::str::FromStr<Err: std::fmt::Debug>>(list: &Value) -> Vec<T> {
        list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().parse().unwrap()).collect()
    }

    fn proxies(table: &Value, header: ForwardedHeader) -> Proxies {
        Proxies { trusted: list(&table["trusted"]), header, nat64: list(&table["nat64"]) }
    }

    fn usual() -> Proxies {
        proxies(&table(), ForwardedHeader::XForwardedFor)
    }

    #[test]
    fn every_case_of_the_table_holds() {
        let table = table();
        let mut cases = 0;
        for group in table["groups"].as_array().unwrap() {
            let header = ForwardedHeader::parse(group["header"].as_str().unwrap()).unwrap();
            let proxies = proxies(&table, header);
            for row in group["rows"].as_array().unwrap() {
                let lines: Vec<&str> = row[1].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
                let want = row[2].as_str().map(|text| text.parse::<IpAddr>().unwrap());
                let found = proxies.client(row[0].as_str().unwrap().parse().unwrap(), &lines);
                assert_eq!(found, want, "{}: {row}", group["why"]);
                cases += 1;
            }
        }
        assert!(cases >= 140, "{cases}");
    }

    #[test]
    fn an_entry_is_read_as_the_address_it_was_made_of() {
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            let proxies = proxies(&table(), header);
            for address in ["198.51.100.7", "2001:db8::5"] {
                let found = proxies.client("10.0.0.1".parse().unwrap(), &["for=192.0.2.1", &header.entry(address)]);
                assert_eq!(found, Some(address.parse().unwrap()));
            }
            let pipe = header.entry("/run/envoy.sock");
            assert_eq!(proxies.client("10.0.0.1".parse().unwrap(), &["192.0.2.1", &pipe]), None);
        }
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(Proxies::default().client(peer, &["198.51.100.7"]), Some(peer));
    }

    #[test]
    fn a_network_written_as_mapped_trusts_the_plain_address() {
        let proxies = Proxies { trusted: vec!["::ffff:10.0.0.0/104".parse().unwrap()], ..Proxies::default() };
        let client = proxies.client("10.0.0.1".parse().unwrap(), &["198.51.100.7"]);
        assert_eq!(client, Some("198.51.100.7".parse().unwrap()));
    }

    /// RFC 6052 section 2.4: 192.0.2.33 under each length of prefix.
    #[test]
    fn an_embedded_address_is_read_at_every_length() {
        let table = [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ];
        for (prefix, address) in table {
            let prefix: Ipv6Net = prefix.parse().unwrap();
            assert!(is_nat64_length(prefix.prefix_len()));
            let proxies = Proxies { nat64: vec![prefix], ..Proxies::default() };
            let client = proxies.client(address.parse().unwrap(), &[]);
            assert_eq!(client, Some("192.0.2.33".parse().unwrap()), "{prefix}");
        }
        assert_eq!(embedded("2001:db8:c000:221::".parse().unwrap(), 33), None);
    }

    #[test]
    fn caps_hold_exactly_and_do_not_concern_an_untrusted_peer() {
        let (proxies, proxy) = (usual(), "10.0.0.1".parse().unwrap());
        let client: IpAddr = "198.51.100.7".parse().unwrap();
        let entries = |count: usize| vec!["198.51.100.7"; count].join(",");
        assert_eq!(proxies.client(proxy, &[&entries(64)]), Some(client));
        assert_eq!(proxies.client(proxy, &[&entries(65)]), None);
        assert_eq!(proxies.client(proxy, &vec!["198.51.100.7"; 65]), None);
        let padded = |length: usize| format!("{}198.51.100.7", " ".repeat(length - 12));
        assert_eq!(proxies.client(proxy, &[&padded(4096)]), Some(client));
        assert_eq!(proxies.client(proxy, &[&padded(4097)]), None);
        assert_eq!(proxies.client(proxy, &[&padded(2048), &padded(2049)]), None);
        assert_eq!(proxies.client(client, &[&padded(1_000_000)]), Some(client));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_and_a_forged_prefix_changes_nothing(forged in "[ -~]{0,80}|.{0,80}", bytes in 0_u32..) {
            let real = IpAddr::V4(Ipv4Addr::from(bytes));
            proptest::prop_assume!(!usual().trusts(real) && forged.matches(',').count() < 60);
            let proxy = "10.0.0.1".parse().unwrap();
            for (header, ours) in [
                (ForwardedHeader::XForwardedFor, format!("{real}, 10.0.0.2")),
                (ForwardedHeader::Forwarded, format!("for={real};host=\"a, \\\"b\", for=\"10.0.0.2:80\"")),
            ] {
                let proxies = proxies(&table(), header);
                let _ = proxies.client(proxy, &[&forged]);
                proptest::prop_assert_eq!(proxies.client(proxy, &[&format!("{forged}, {ours}")]), Some(real));
                proptest::prop_assert_eq!(proxies.client(proxy, &[&forged, &ours]), Some(real));
            }
        }
    }
}
