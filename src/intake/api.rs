//! Vendors' APIs, of which only reading is used.

use super::IntakeError;
use super::native::Account;
use crate::strict_json;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

/// Longest body read, of a notice or an answer.
pub(super) const MAX_LENGTH: usize = 1024 * 1024;

/// One vendor's API with our credentials.
///
/// Addresses are built from the configured base and validated ids. The client brings the timeout and must not follow
/// redirects; an answer from elsewhere is refused all the same.
pub(super) struct Api<'a> {
    client: &'a Client,
    base_url: &'a Url,
    version: &'static str,
    authorization: HeaderValue,
}

impl<'a> Api<'a> {
    /// The API of an account: `version` begins every path, `scheme` stands before the token.
    ///
    /// # Errors
    /// [`IntakeError::Unsupported`] for a token that is no header.
    pub(super) fn new(
        client: &'a Client,
        account: &'a Account,
        version: &'static str,
        scheme: &str,
    ) -> Result<Self, IntakeError> {
        let token = format!("{scheme}{}", account.api_token.expose_secret());
        let mut authorization = HeaderValue::from_str(&token).map_err(|_| IntakeError::Unsupported("api token"))?;
        authorization.set_sensitive(true);
        Ok(Self { client, base_url: &account.base_url, version, authorization })
    }

    /// Reads one JSON answer.
    ///
    /// # Errors
    /// [`IntakeError::Upstream`] when the vendor fails or answers nonsense, [`IntakeError::SlowDown`],
    /// [`IntakeError::TooLarge`] over 1 MiB.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, IntakeError> {
        let mut url = self.base_url.clone();
        url.path_segments_mut()
            .map_err(|()| IntakeError::Unsupported("base url"))?
            .pop_if_empty()
            .push(self.version)
            .extend(path);
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.get(url.clone()).header(AUTHORIZATION, self.authorization.clone());
        let mut response = request.send().await.map_err(|error| unanswered(&error))?;
        // SECURITY: a client that follows redirects would show here; the token is sent to one host only.
        if response.status().is_redirection() || *response.url() != url {
            return Err(IntakeError::Upstream("it redirects"));
        }
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(IntakeError::Upstream("it refuses our token"));
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(IntakeError::Upstream("the result is not there")),
            StatusCode::TOO_MANY_REQUESTS => {
                let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                return Err(IntakeError::SlowDown { after_secs: after.and_then(|text| text.trim().parse().ok()) });
            }
            _ => return Err(IntakeError::Upstream("it failed")),
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(IntakeError::Upstream("the answer is not json"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unanswered(&error))? {
            if body.len() + chunk.len() > MAX_LENGTH {
                return Err(IntakeError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let value = strict_json::parse(&body).map_err(|_| IntakeError::Upstream("the answer is not json"))?;
        serde_json::from_value(value).map_err(|_| IntakeError::Upstream("the answer has an unknown shape"))
    }
}

fn unanswered(error: &reqwest::Error) -> IntakeError {
    if error.is_timeout() {
        IntakeError::Upstream("it is too slow")
    } else if error.is_redirect() {
        IntakeError::Upstream("it redirects")
    } else if error.is_body() || error.is_decode() {
        IntakeError::Upstream("the answer was cut short")
    } else {
        IntakeError::Upstream("it cannot be reached")
    }
}
