//! Which address a request came from, behind proxies we run.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest `X-Forwarded-For` read, all header lines together, in bytes.
const MAX_LENGTH: usize = 4096;

/// Most entries read.
const MAX_ENTRIES: usize = 64;

/// The client's address: the first, read from right to left, that is not one of our own proxies.
///
/// `peer` is the socket's other end; `forwarded_for` holds the values of all `X-Forwarded-For` lines in order. Only
/// what a trusted proxy wrote is believed: an untrusted peer is itself the client, whatever its headers claim. An
/// entry may carry a port or brackets (`192.0.2.1:4711`, `[2001:db8::1]:443`); a zone is refused. IPv4 mapped into
/// IPv6 is the IPv4 address; 6to4, Teredo and NAT64 addresses stay as they are, since what they embed is a relay or
/// a translation, not always the client. When every entry is trusted, the left-most is the client.
///
/// `None` means no evidence: an entry that had to be read is no address (`unknown`, `_hidden`, nothing between two
/// commas), or the header exceeds 4 KiB or 64 entries.
#[must_use]
pub fn client_address(peer: IpAddr, forwarded_for: &[&str], trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return Some(client);
    }
    let length = forwarded_for.iter().map(|line| line.len()).fold(0_usize, usize::saturating_add);
    let entries = forwarded_for.iter().flat_map(|line| line.split(',')).count();
    if length > MAX_LENGTH || entries > MAX_ENTRIES {
        return None;
    }
    for entry in forwarded_for.iter().rev().flat_map(|line| line.rsplit(',')) {
        client = parse_entry(entry)?;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    Some(client)
}

/// A proxy configured as `10.0.0.0/8` is trusted however its address is written, and so is one configured as mapped.
fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let mapped = match address {
        IpAddr::V4(v4) => Some(IpAddr::V6(v4.to_ipv6_mapped())),
        IpAddr::V6(_) => None,
    };
    trusted.iter().any(|network| network.contains(&address) || mapped.is_some_and(|mapped| network.contains(&mapped)))
}

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

    const TRUSTED: &[&str] = &["10.0.0.0/8", "192.0.2.10/32", "2001:db8:aaaa::/48"];

    fn nets(list: &[&str]) -> Vec<IpNet> {
        list.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn table() {
        // (peer, header lines, client); `-` is no evidence. Proxies: TRUSTED.
        let table: &[(&str, &[&str], &str)] = &[
            // An untrusted peer is the client, whatever it claims.
            ("198.51.100.1", &[], "198.51.100.1"),
            ("198.51.100.1", &["203.0.113.5"], "198.51.100.1"),
            ("198.51.100.1", &["10.0.0.1"], "198.51.100.1"),
            ("198.51.100.1", &["garbage"], "198.51.100.1"),
            ("198.51.100.1", &["127.0.0.1", "10.0.0.1"], "198.51.100.1"),
            ("192.0.2.11", &["203.0.113.5"], "192.0.2.11"),
            ("127.0.0.1", &["203.0.113.5"], "127.0.0.1"),
            ("2001:db8::1", &["203.0.113.5"], "2001:db8::1"),
            ("2001:db8:aaab::1", &["203.0.113.5"], "2001:db8:aaab::1"),
            ("::ffff:198.51.100.1", &["203.0.113.5"], "198.51.100.1"),
            ("::ffff:198.51.100.1", &[], "198.51.100.1"),
            // No header: the trusted peer itself.
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &[], "10.0.0.1"),
            // One proxy.
            ("10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            ("::ffff:10.0.0.1", &["203.0.113.5"], "203.0.113.5"),
            ("192.0.2.10", &["203.0.113.5"], "203.0.113.5"),
            ("2001:db8:aaaa::7", &["203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["2001:db8::5"], "2001:db8::5"),
            ("10.0.0.1", &["2001:DB8:0:0:0:0:0:5"], "2001:db8::5"),
            // The left-most entry is what the client wrote itself: never believed past an untrusted hop.
            ("10.0.0.1", &["1.1.1.1, 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["10.0.0.9, 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["127.0.0.1, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["garbage, 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["unknown, 203.0.113.5, 10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &[", 203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["'; drop table --, 203.0.113.5"], "203.0.113.5"),
            // A chain of proxies.
            ("10.0.0.1", &["203.0.113.5, 10.0.0.2, 10.0.0.3"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5, 192.0.2.10, 2001:db8:aaaa::1"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5, 192.0.2.11, 10.0.0.2"], "192.0.2.11"),
            ("10.0.0.1", &["203.0.113.5,10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["  203.0.113.5 \t,\t 10.0.0.2  "], "203.0.113.5"),
            // Several header lines are one list.
            ("10.0.0.1", &["203.0.113.5", "10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1", "203.0.113.5", "10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["1.1.1.1, 203.0.113.5", "10.0.0.3, 10.0.0.2"], "203.0.113.5"),
            // All trusted: the left-most.
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            ("10.0.0.1", &["10.0.0.9", "10.0.0.3, 10.0.0.2"], "10.0.0.9"),
            // Ports and brackets.
            ("10.0.0.1", &["203.0.113.5:4711"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5:0"], "203.0.113.5"),
            ("10.0.0.1", &["[2001:db8::5]:443"], "2001:db8::5"),
            ("10.0.0.1", &["[2001:db8::5]"], "2001:db8::5"),
            ("10.0.0.1", &["203.0.113.5, 10.0.0.2:80"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5:65536"], "-"),
            ("10.0.0.1", &["203.0.113.5:"], "-"),
            ("10.0.0.1", &["203.0.113.5:+80"], "-"),
            ("10.0.0.1", &["203.0.113.5:http"], "-"),
            ("10.0.0.1", &["[203.0.113.5]"], "-"),
            ("10.0.0.1", &["[203.0.113.5]:80"], "-"),
            ("10.0.0.1", &["[2001:db8::5"], "-"),
            ("10.0.0.1", &["2001:db8::5]"], "-"),
            ("10.0.0.1", &["[2001:db8::5]:"], "-"),
            ("10.0.0.1", &["[]"], "-"),
            // Without brackets the last group of IPv6 is no port.
            ("10.0.0.1", &["2001:db8::5:443"], "2001:db8::5:443"),
            // Zones.
            ("10.0.0.1", &["fe80::1%eth0"], "-"),
            ("10.0.0.1", &["[fe80::1%1]:80"], "-"),
            ("10.0.0.1", &["2001:db8::5%25eth0"], "-"),
            // IPv4 in IPv6.
            ("10.0.0.1", &["::ffff:203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["::ffff:cb00:7105"], "203.0.113.5"),
            ("10.0.0.1", &["[::ffff:203.0.113.5]:80"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5, ::ffff:10.0.0.2"], "203.0.113.5"),
            ("10.0.0.1", &["::203.0.113.5"], "::203.0.113.5"),
            ("10.0.0.1", &["2002:cb00:7105::1"], "2002:cb00:7105::1"),
            ("10.0.0.1", &["2001:0:cb00:7105::1"], "2001:0:cb00:7105::1"),
            ("10.0.0.1", &["64:ff9b::203.0.113.5"], "64:ff9b::cb00:7105"),
            // A tunnel's embedded proxy address earns no trust.
            ("10.0.0.1", &["203.0.113.5, 2002:a00:2::1"], "2002:a00:2::1"),
            ("10.0.0.1", &["203.0.113.5, 64:ff9b::10.0.0.2"], "64:ff9b::a00:2"),
            ("64:ff9b::10.0.0.2", &["203.0.113.5"], "64:ff9b::a00:2"),
            // What is no address, where it had to be read.
            ("10.0.0.1", &[""], "-"),
            ("10.0.0.1", &["   "], "-"),
            ("10.0.0.1", &["", "203.0.113.5"], "203.0.113.5"),
            ("10.0.0.1", &["203.0.113.5", ""], "-"),
            ("10.0.0.1", &["203.0.113.5,"], "-"),
            ("10.0.0.1", &["203.0.113.5,, 10.0.0.2"], "-"),
            ("10.0.0.1", &["unknown"], "-"),
            ("10.0.0.1", &["203.0.113.5, unknown"], "-"),
            ("10.0.0.1", &["_hidden"], "-"),
            ("10.0.0.1", &["203.0.113.5, _secret, 10.0.0.2"], "-"),
            ("10.0.0.1", &["for=203.0.113.5"], "-"),
            ("10.0.0.1", &["\"203.0.113.5\""], "-"),
            ("10.0.0.1", &["localhost"], "-"),
            ("10.0.0.1", &["203.0.113"], "-"),
            ("10.0.0.1", &["203.0.113.5.6"], "-"),
            ("10.0.0.1", &["203.0.113.256"], "-"),
            ("10.0.0.1", &["0313.0.113.5"], "-"),
            ("10.0.0.1", &["0xcb.0.113.5"], "-"),
            ("10.0.0.1", &["3405803781"], "-"),
            ("10.0.0.1", &["203.0.113.5/32"], "-"),
            ("10.0.0.1", &["203.0.113.5 10.0.0.2"], "-"),
            ("10.0.0.1", &["203.0.113.5;10.0.0.2"], "-"),
            ("10.0.0.1", &["203.0.113.5\u{a0}"], "-"),
            ("10.0.0.1", &["２０３.0.113.5"], "-"),
            ("10.0.0.1", &["2001:db8:::5"], "-"),
            ("10.0.0.1", &["1:2:3:4:5:6:7:8:9"], "-"),
        ];
        assert!(table.len() >= 60);
        for (peer, lines, client) in table {
            let found = client_address(peer.parse().unwrap(), lines, &nets(TRUSTED));
            let found = found.map_or("-".to_owned(), |address| address.to_string());
            let want = client.parse::<IpAddr>().map_or((*client).to_owned(), |address| address.to_string());
            assert_eq!(found, want, "peer {peer}, header {lines:?}");
        }
    }

    #[test]
    fn nobody_is_trusted_by_default() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(client_address(peer, &["203.0.113.5"], &[]), Some(peer));
    }

    #[test]
    fn a_network_written_as_mapped_trusts_the_plain_address() {
        let trusted = nets(&["::ffff:10.0.0.0/104"]);
        let client = client_address("10.0.0.1".parse().unwrap(), &["203.0.113.5"], &trusted);
        assert_eq!(client, Some("203.0.113.5".parse().unwrap()));
    }

    #[test]
    fn caps_hold_exactly_and_do_not_concern_an_untrusted_peer() {
        let (proxy, trusted) = ("10.0.0.1".parse().unwrap(), nets(TRUSTED));
        let client: IpAddr = "203.0.113.5".parse().unwrap();
        let entries = |count: usize| vec!["203.0.113.5"; count].join(",");
        assert_eq!(client_address(proxy, &[&entries(64)], &trusted), Some(client));
        assert_eq!(client_address(proxy, &[&entries(65)], &trusted), None);
        assert_eq!(client_address(proxy, &vec!["203.0.113.5"; 65], &trusted), None);
        let padded = |length: usize| format!("{}203.0.113.5", " ".repeat(length - 11));
        assert_eq!(client_address(proxy, &[&padded(4096)], &trusted), Some(client));
        assert_eq!(client_address(proxy, &[&padded(4097)], &trusted), None);
        assert_eq!(client_address(proxy, &[&padded(2048), &padded(2049)], &trusted), None);
        assert_eq!(client_address(client, &[&padded(1_000_000)], &trusted), Some(client));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_and_a_forged_prefix_changes_nothing(forged in ".{0,80}", bytes in 0_u32..) {
            let (proxy, trusted) = ("10.0.0.1".parse().unwrap(), nets(TRUSTED));
            let _ = client_address(proxy, &[&forged], &trusted);
            let real = IpAddr::V4(Ipv4Addr::from(bytes));
            proptest::prop_assume!(!is_trusted(real, &trusted) && forged.len() + 40 < MAX_LENGTH && forged.matches(',').count() < 60);
            proptest::prop_assert_eq!(client_address(proxy, &[&format!("{forged}, {real}, 10.0.0.2")], &trusted), Some(real));
        }
    }
}
