//! `vouchsafe ready`: the health check of containers and service managers, where no other client is at hand.

use super::{ConfigArgs, read, say};
use anyhow::{Context as _, bail};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// How long the answer may take; below the usual patience of a container's health check.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) async fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let url = format!("http://{}/readyz", reachable(read(args)?.admin_address()?));
    let client = reqwest::Client::builder()
        // The listener is on this machine; a proxy could only answer for something else.
        .no_proxy()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .context("the client for the health check")?;
    let answer = client.get(&url).send().await.with_context(|| format!("no answer from `{url}`"))?;
    let status = answer.status();
    if status != reqwest::StatusCode::OK {
        bail!("`{url}` answers {status}: {}", answer.text().await.unwrap_or_default());
    }
    say(&if args.json { json!({ "ready": true }).to_string() } else { "ready".to_owned() });
    Ok(ExitCode::SUCCESS)
}

/// An address to ask at; who listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:9090", "127.0.0.1:9090"), ("[::]:9090", "[::1]:9090"), ("192.0.2.1:9", "192.0.2.1:9")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
