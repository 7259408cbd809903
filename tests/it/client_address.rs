//! The table of addresses (`fixtures/client-address.json`) through the real listener, read off a criterion that looks at
//! where a request comes from: refused as embargoed, passed, or not known, as the network database places the address.

use crate::app::{TestApp, on_both};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use vouchsafe::intake::client_address::{ForwardedHeader, Proxies};

/// What the test database (`fixtures/geoip/test.mmdb`) makes of an address under the policy `embargo`.
fn expected(client: Option<IpAddr>) -> &'static str {
    match client {
        // Iran, which is embargoed; then the United States.
        Some(IpAddr::V4(v4)) if v4.octets()[..3] == [198, 51, 100] => "status.ineligible",
        Some(IpAddr::V4(v4)) if v4.octets()[..3] == [192, 0, 2] => "",
        Some(IpAddr::V6(v6)) if v6.segments()[..2] == [0x2001, 0xdb8] => "",
        // An anonymiser, an address of nobody in particular, none at all.
        _ => "status.insufficient",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_judges_every_address_as_the_table_says() {
    let text = std::fs::read_to_string(format!("{}/fixtures/client-address.json", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    on_both(async |mut t: TestApp| {
        t.activate("embargo").await;
        t.audience("edge").await;
        let sources = t.sources().await;
        let subject = t.eligible_subject(&sources, "ada").await;
        t.created(&format!("/v1/subjects/{subject}/links"), json!({ "namespace": "api-key", "id": "k" })).await;
        let key = t.gateway("edge", true).await;
        let (mut asked, mut kinds) = (0, std::collections::BTreeMap::<&str, usize>::new());
        for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
            let list = |name: &str| -> Vec<String> { serde_json::from_value(table[name].clone()).unwrap() };
            let mut trusted: Vec<ipnet::IpNet> = list("trusted").iter().map(|net| net.parse().unwrap()).collect();
            trusted.push("127.0.0.1/32".parse().unwrap());
            let nat64 = list("nat64").iter().map(|net| net.parse().unwrap()).collect();
            t.behind(Proxies { trusted, header, nat64 }).await;
            for group in table["groups"].as_array().unwrap() {
                if group["header"] != header.name() {
                    continue;
                }
                for row in group["rows"].as_array().unwrap() {
                    // The other end of a test's connection is a trusted proxy.
                    if row[0] != "10.0.0.1" {
                        continue;
                    }
                    let lines = row[1].as_array().unwrap();
                    let client = row[2].as_str().map(|text| text.parse::<IpAddr>().unwrap());
                    // A proxy that forwards for nobody is not the caller.
                    let client = client.filter(|client| !lines.is_empty() || *client != Ipv4Addr::new(10, 0, 0, 1));
                    let mut headers = HeaderMap::new();
                    for line in lines {
                        let value = HeaderValue::from_bytes(line.as_str().unwrap().as_bytes()).unwrap();
                        headers.append(HeaderName::from_static(header.name()), value);
                    }
                    // What the other header says is of no account.
                    let other = match header {
                        ForwardedHeader::XForwardedFor => ("forwarded", "for=192.0.2.1"),
                        ForwardedHeader::Forwarded => ("x-forwarded-for", "192.0.2.1"),
                    };
                    headers.append(other.0, HeaderValue::from_static(other.1));
                    let request = t.http.get(format!("{}/gateway/check/regional.api", t.url)).headers(headers);
                    let request = request.header("x-gateway-key", &key).header("x-vouchsafe-caller", "api-key:k");
                    let answer = crate::app::answer(request).await;
                    let (reason, wanted) = (answer.header("x-eligibility-reason"), expected(client));
                    assert_eq!(reason, wanted, "{}: {row}", group["why"]);
                    assert_eq!(answer.status == 200, wanted.is_empty(), "{}: {row}", group["why"]);
                    *kinds.entry(wanted).or_default() += 1;
                    asked += 1;
                }
            }
        }
        assert!(asked >= 120 && kinds.len() == 3, "{asked} {kinds:?}");
    })
    .await;
}
