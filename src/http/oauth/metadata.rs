//! What the authorization server and the API say of themselves (RFC 7517, 8414, 9728).

use crate::crypto::sha256_hex;
use crate::http::extract::DPOP_ALGORITHMS;
use crate::http::{Edge, conditional};
use crate::service::admin::SCOPES;
use crate::service::keys::JWKS_MAX_AGE_SECS;
use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

/// Public keys (RFC 7517), answered from memory; a key stands here long before it signs.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "oauth", responses((status = 200, description = "JWK set"), (status = 304, description = "as the caller has it")))]
pub async fn jwks(State(edge): State<Edge>, headers: HeaderMap) -> Response {
    let set = edge.app.key_set().to_string();
    let kind = "application/jwk-set+json";
    conditional::published(&headers, &sha256_hex(set.as_bytes()), kind, JWKS_MAX_AGE_SECS, set)
}

/// Authorization server metadata (RFC 8414).
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "oauth", responses((status = 200, description = "metadata")))]
pub async fn authorization_server(State(edge): State<Edge>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", edge.app.issuer);
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    let algorithms = json!(DPOP_ALGORITHMS);
    let mut metadata = json!({
        "issuer": edge.app.issuer, "token_endpoint": at("/oauth2/token"), "jwks_uri": at("/.well-known/jwks.json"),
        "introspection_endpoint": at("/oauth2/introspect"), "revocation_endpoint": at("/oauth2/revoke"),
        "grant_types_supported": [super::CLIENT_CREDENTIALS, super::TOKEN_EXCHANGE],
        // No grant begins at an authorization endpoint; the member is required all the same.
        "response_types_supported": [],
        "status_list_aggregation_endpoint": at("/status-lists"),
        "scopes_supported": SCOPES, "service_documentation": at("/docs"),
        "introspection_signing_alg_values_supported": ["ES256"],
        "dpop_signing_alg_values_supported": algorithms, "protected_resources": [edge.app.issuer],
    });
    if let Some(members) = metadata.as_object_mut() {
        for endpoint in ["token", "introspection", "revocation"] {
            members.insert(format!("{endpoint}_endpoint_auth_methods_supported"), methods.clone());
            members.insert(format!("{endpoint}_endpoint_auth_signing_alg_values_supported"), algorithms.clone());
        }
        if edge.app.deployment.is_test() {
            members.insert("vouchsafe_test_deployment".to_owned(), json!(true));
        }
    }
    Json(metadata)
}

/// Where relying parties find the keys of claims that are provided about somebody (OpenID Connect Discovery 1.0, OpenID
/// Connect for Identity Assurance 1.0). Nobody signs in here: there is no authorization endpoint and no ID token.
#[utoipa::path(get, path = "/.well-known/openid-configuration", tag = "sso", responses((status = 200, description = "metadata")))]
pub async fn openid_configuration(State(edge): State<Edge>) -> Json<Value> {
    let at = |path: &str| format!("{}{path}", edge.app.issuer);
    Json(json!({
        "issuer": edge.app.issuer, "jwks_uri": at("/.well-known/jwks.json"), "userinfo_endpoint": at("/sso/userinfo"),
        "token_endpoint": at("/oauth2/token"), "response_types_supported": [], "grant_types_supported":
            [super::CLIENT_CREDENTIALS, super::TOKEN_EXCHANGE], "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": [], "scopes_supported": ["sso:claims"],
        "claim_types_supported": ["normal"], "claims_supported": ["sub", "eligibility", "verified_claims"],
        "claims_parameter_supported": false, "verified_claims_supported": true,
        "trust_frameworks_supported": [edge.app.trust_framework()],
        "evidence_supported": ["document", "electronic_record", "vouch"],
        "documents_supported": ["passport", "idcard", "driving_permit", "residence_permit"],
        "documents_check_methods_supported": ["vri", "vcrypt", "bvr"],
        "electronic_records_supported": ["status_record"],
        "claims_in_verified_claims_supported": ["eligibility"], "service_documentation": at("/docs"),
    }))
}

/// Metadata of the API as a protected resource (RFC 9728).
#[utoipa::path(get, path = "/.well-known/oauth-protected-resource", tag = "oauth", responses((status = 200, description = "metadata")))]
pub async fn protected_resource(State(edge): State<Edge>) -> Json<Value> {
    Json(json!({
        "resource": edge.app.issuer, "authorization_servers": [edge.app.issuer], "scopes_supported": SCOPES,
        "bearer_methods_supported": ["header"], "resource_name": "Vouchsafe",
        "resource_documentation": format!("{}/docs", edge.app.issuer),
        "dpop_signing_alg_values_supported": DPOP_ALGORITHMS, "dpop_bound_access_tokens_required": false,
        "tls_client_certificate_bound_access_tokens": false,
    }))
}
