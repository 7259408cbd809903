//! Eligibility as an attribute: userinfo and provided claims for identity providers, and the hooks of their platforms.

pub mod entra;
pub mod okta;
pub mod userinfo;

use super::Edge;
use super::extract::{Presented, presented};
use super::gateway::single;
use crate::service::ServiceError;
use crate::service::sso::{Attribute, Person};
use crate::service::world::IdentityProvider;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// How long a hook waits for an answer before it gives the safe one: the platforms give up after 1 s (Entra's default) and
/// 3 s (Okta).
const DEADLINE: Duration = Duration::from_millis(800);

/// Whoever proved that it asks: an id for its bucket of requests.
pub(super) async fn asker(edge: &Edge, headers: &HeaderMap) -> Option<String> {
    if let Some(secret) = okta::secret(headers) {
        return edge.app.okta_hook(secret).ok().map(|provider| provider.id.clone());
    }
    match presented(headers) {
        Presented::Bearer(token) | Presented::Dpop { token, .. } => Some(edge.app.recognise(token).await?.id),
        Presented::None | Presented::Unreadable => None,
    }
}

/// The value of `resource` in a hook's address; given twice it names nothing.
fn named_resource(query: Option<&str>) -> Option<String> {
    let mut values =
        form_urlencoded::parse(query?.as_bytes()).filter(|(name, _)| name == "resource").map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(only), None) => Some(only.into_owned()),
        // No resource has this name.
        _ => Some(String::new()),
    }
}

fn count(platform: &'static str, answer: &'static str) {
    metrics::counter!("vouchsafe_sso_answers_total", "platform" => platform, "answer" => answer).increment(1);
}

/// What a hook is told about a person: never more than a no where it cannot be known in time.
async fn ask(
    edge: &Edge,
    platform: &'static str,
    provider: &IdentityProvider,
    query: Option<&str>,
    person: Option<Person<'_>>,
    address: Option<IpAddr>,
) -> Attribute {
    let Some(person) = person else {
        count(platform, "nobody");
        return Attribute::NO;
    };
    let named = named_resource(query);
    let asked = async {
        let resource = edge.app.asked_resource(provider, named.as_deref())?;
        edge.app.attribute(provider, &person, &resource, address).await
    };
    let (attribute, answer) = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(attribute)) => (attribute, if attribute.allowed() { "allowed" } else { "refused" }),
        Ok(Err(ServiceError::NotFound(what))) => {
            tracing::error!(provider = provider.id, what, "a hook asks about what its provider may not ask about");
            (Attribute::NO, "misconfigured")
        }
        Ok(Err(error)) => {
            tracing::error!(provider = provider.id, error = %error, "a hook cannot be answered: a no is told");
            (Attribute::NO, "unavailable")
        }
        Err(_) => {
            tracing::error!(provider = provider.id, "a hook cannot be answered in time: a no is told");
            (Attribute::NO, "late")
        }
    };
    count(platform, answer);
    attribute
}

/// A body that nobody keeps.
fn json(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

/// For whoever did not prove that they may call; says nothing more.
fn unauthenticated(platform: &'static str, body: &Value) -> Response {
    count(platform, "unauthenticated");
    let mut response = json(StatusCode::UNAUTHORIZED, body);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// The one `Authorization` header.
fn authorization(headers: &HeaderMap) -> Option<&str> {
    single(headers, header::AUTHORIZATION.as_str())
}
