//! Vendors' APIs: names resolve, certificates are trusted, something answers. No secret is sent: what a vendor's API
//! says to a stranger is enough to know the way is open.

use crate::clock::{Clock as _, SystemClock};
use crate::finding::Finding;
use crate::service::checkup::VendorApi;
use crate::service::outgoing_client;
use std::error::Error as _;
use std::time::{Duration, UNIX_EPOCH};
use tokio::task::JoinSet;

/// How long one vendor may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer's `Date` is in whole seconds; further apart than this, in seconds, a clock is wrong.
const APART: i64 = 10;

pub(super) async fn check(apis: Vec<VendorApi>) -> Vec<Finding> {
    let Ok(client) = outgoing_client() else { return Vec::new() };
    let mut asked = JoinSet::new();
    for api in apis {
        let client = client.clone();
        asked.spawn(async move { reach(&client, &api).await });
    }
    let mut findings = asked.join_all().await.concat();
    findings.sort_by(|a, b| (a.check, &a.found).cmp(&(b.check, &b.found)));
    findings
}

async fn reach(client: &reqwest::Client, api: &VendorApi) -> Vec<Finding> {
    let VendorApi { source, vendor, base_url } = api;
    let answer = match client.get(base_url).timeout(PATIENCE).send().await {
        Ok(answer) => answer,
        Err(error) => {
            return vec![Finding::failure(
                "vendors.reached",
                format!("{vendor} (source `{source}`) cannot be reached at `{base_url}`: {}", root(&error)),
                "results are fetched there; until then deliveries are refused and nobody's evidence arrives",
                "check the name, the firewall, and that the system's certificates are installed",
            )];
        }
    };
    let mut findings = vec![Finding::ok("vendors.reached", format!("{vendor} (source `{source}`) answers"))];
    let date = answer.headers().get("date").and_then(|value| value.to_str().ok());
    if let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok())
        && let Ok(since) = theirs.duration_since(UNIX_EPOCH)
    {
        let apart = i64::try_from(since.as_secs()).unwrap_or(i64::MAX) - SystemClock.now().epoch();
        findings.extend((apart.abs() > APART).then(|| {
            Finding::warning(
                "clock.vendors",
                format!("the clock of {vendor} and ours differ by {} s", apart.abs()),
                "signatures that cover a time are refused when they seem too old or too new",
                "synchronise the clock, such as with `chronyd`",
            )
        }));
    }
    findings
}

/// The innermost cause: `dns error`, `Connection refused`, `invalid peer certificate`.
fn root(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} seconds", PATIENCE.as_secs());
    }
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    fn api(base_url: String) -> VendorApi {
        VendorApi { source: "src_1".into(), vendor: "onfido".into(), base_url }
    }

    #[tokio::test]
    async fn a_vendor_answers_or_the_cause_is_told() {
        let server = MockServer::start().await;
        Mock::given(matchers::any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
        let reached = check(vec![api(server.uri())]).await;
        assert!(reached.iter().all(|finding| finding.level == Level::Ok), "{reached:?}");
        let requests = server.received_requests().await.unwrap();
        assert!(requests.len() == 1 && !requests[0].headers.contains_key("authorization"), "no secret is sent");

        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = check(vec![api(format!("http://{free}"))]).await;
        assert!(refused[0].level == Level::Failure && refused[0].found.contains("refused"), "{refused:?}");
        let unknown = check(vec![api("https://vendor.invalid".into())]).await;
        assert_eq!(unknown[0].level, Level::Failure);
        // A plain answer where TLS is spoken.
        let plain = check(vec![api(server.uri().replace("http:", "https:"))]).await;
        assert_eq!(plain[0].level, Level::Failure, "{plain:?}");
    }

    #[tokio::test]
    async fn an_answer_shows_that_our_clock_is_wrong() {
        let server = MockServer::start().await;
        let old = ResponseTemplate::new(200).insert_header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        Mock::given(matchers::any()).respond_with(old).mount(&server).await;
        let found = check(vec![api(server.uri())]).await;
        let clock = found.iter().find(|finding| finding.check == "clock.vendors").unwrap();
        assert_eq!(clock.level, Level::Warning);
    }
}
