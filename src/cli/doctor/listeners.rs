//! The addresses the service listens on: free, or held by the service itself.

use crate::config::Config;
use crate::finding::Finding;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// How long a running service may take to say what it is.
const PATIENCE: Duration = Duration::from_secs(3);

/// How two of the listeners show themselves: a path, and a text that only we answer it with.
const PUBLIC: (&str, &str) = ("/openapi.json", "\"title\":\"Vouchsafe\"");
const ADMIN: (&str, &str) = ("/metrics", "vouchsafe_feed_age_seconds");

pub(super) async fn check(config: &Config, refused: &[&'static str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, address, sign) in [("listen", config.listen, PUBLIC), ("admin_listen", config.admin_listen, ADMIN)] {
        if !refused.contains(&key) {
            findings.extend(listener(key, address, Some(sign)).await);
        }
    }
    if let Some(address) = config.grpc_listen {
        // It tells nobody who it is; but a service that runs holds its other address too.
        let runs = ask(config.listen, PUBLIC.0).await.is_some_and(|(_, text)| text.contains(PUBLIC.1));
        if !runs {
            findings.extend(listener("grpc_listen", address, None).await);
        }
    }
    findings
}

async fn listener(key: &str, address: SocketAddr, shows: Option<(&str, &str)>) -> Vec<Finding> {
    let check = "listeners";
    let why = "the service does not start";
    match std::net::TcpListener::bind(address) {
        Ok(_) => vec![Finding::ok(check, format!("`{key}` {address} is free"))],
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let ours = match shows {
                Some((path, sign)) => ask(address, path).await.is_some_and(|(_, text)| text.contains(sign)),
                None => false,
            };
            if !ours {
                let found = format!("`{key}` {address} is held by another program");
                let remedy = format!("find it with `ss -ltnp 'sport = :{}'`, or choose another port", address.port());
                return vec![Finding::failure(check, found, why, remedy)];
            }
            let ours = Finding::ok(check, format!("`{key}` {address} is held by a running service"));
            std::iter::once(ours).chain(ready(ask(address, "/readyz").await)).collect()
        }
        Err(error) => {
            let remedy = "choose an address of this machine, and a port of 1024 or higher";
            let found = format!("`{key}` {address} cannot be listened on: {error}");
            vec![Finding::failure(check, found, why, remedy)]
        }
    }
}

/// What the running service says of itself: that its feed is fresh and that its database takes changes.
fn ready(answer: Option<(u16, String)>) -> Option<Finding> {
    let said = match answer {
        Some((200, _)) => return None,
        Some((_, text)) => text,
        None => "it does not answer".to_owned(),
    };
    Some(Finding::failure(
        "listeners.ready",
        format!("the running service is not ready: {said}"),
        "gateways get no answer that they could use",
        "look at its log and at what is said of the database here",
    ))
}

/// Status and text of a path of whatever listens there.
async fn ask(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let url = format!("http://{}{path}", SocketAddr::new(ip, address.port()));
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().ok()?;
    let answer = client.get(url).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[tokio::test]
    async fn a_port_is_free_or_held_by_somebody_else() {
        let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = held.local_addr().unwrap();
        let stranger = tokio::spawn(async move {
            let routes = axum::Router::new().fallback(async || "hello");
            axum::serve(held, routes).await.unwrap();
        });
        let found = listener("listen", address, Some(PUBLIC)).await.remove(0);
        assert!(found.level == Level::Failure && found.found.contains("another program"), "{found:?}");
        stranger.abort();
        let _ = stranger.await;
        assert_eq!(listener("listen", address, Some(PUBLIC)).await[0].level, Level::Ok);
        // TEST-NET-1 is no address of any machine.
        let elsewhere = listener("listen", "192.0.2.1:8080".parse().unwrap(), Some(PUBLIC)).await.remove(0);
        assert!(
            elsewhere.level == Level::Failure && elsewhere.found.contains("cannot be listened on"),
            "{elsewhere:?}"
        );
    }

    #[test]
    fn a_service_that_runs_and_is_not_ready_is_told() {
        assert_eq!(ready(Some((200, "ready".into()))), None);
        let stale = ready(Some((503, "the change feed is older than ten seconds".into()))).unwrap();
        assert!(stale.level == Level::Failure && stale.found.contains("feed"), "{stale:?}");
        assert_eq!(ready(None).unwrap().level, Level::Failure);
    }
}
