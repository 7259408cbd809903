//! Which addresses have one place in the public network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address has one place in the public network. Documentation ranges count, so that they can be tested with;
/// IPv6 that carries IPv4 is judged by what it carries.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let [.., c, _] = address.octets();
    let assignments = a == 192 && b == 0 && c == 0;
    let shared = a == 100 && (64..128).contains(&b);
    // Anycast of relays from 6to4, withdrawn by RFC 7526.
    let relays = a == 192 && b == 88 && c == 99;
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || assignments
        || shared
        || benchmark
        || relays
        || a == 0
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let global_unicast = a & 0xe000 == 0x2000;
    let six_to_four = a == 0x2002;
    // 2001::/23: Teredo and other assignments of protocols.
    let assignments = a == 0x2001 && b < 0x0200;
    // NAT64 (64:ff9b::/16), IPv4-compatible, loopback, unique local, link-local and multicast are outside 2000::/3.
    global_unicast && !six_to_four && !assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_anybody_can_reach_is_public() {
        for inside in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "2001:1ff::1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "::127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:100.64.0.1",
            "2001:0:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fec0::1",
            "100.127.255.255",
            "192.88.99.1",
            "198.19.255.255",
            "240.0.0.1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "192.0.1.0",
            "2001:200::1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.2.7",
            "198.20.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
