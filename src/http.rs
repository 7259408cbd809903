//! The HTTP edge: the route table on one screen. Handlers extract, call one use case, and map.

pub mod admin;
pub mod admissions;
pub mod appeals;
mod arrival;
pub mod authzen;
pub mod cases;
pub mod clients;
pub mod conditional;
pub mod decisions;
pub mod directories;
mod docs;
pub mod end_users;
pub mod erasure;
pub mod events;
pub mod evidence;
mod ext_authz;
pub mod extract;
pub mod gateway;
mod idempotency;
pub mod identity;
pub mod limits;
pub mod listen;
pub mod oauth;
pub mod operators;
pub mod ops;
pub mod problem;
pub mod reports;
pub mod roster;
pub mod rules;
pub mod scim;
pub mod ssf;
pub mod sso;
pub mod status_lists;
pub mod subjects;
pub mod suspensions;
pub mod webhooks;

use crate::intake::client_address::Proxies;
use crate::service::App;
use arrival::Hall;
use axum::Router;
use axum::middleware::from_fn_with_state;
use idempotency::Posts;
use limits::Limits;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{ClientCredentials, Flow, Http, HttpAuthScheme, OAuth2, Scopes, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// What every handler can reach.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The service.
    pub app: Arc<App>,
    /// The proxies whose word about addresses is believed.
    pub trusted_proxies: Arc<Proxies>,
    /// Who may ask how often.
    pub limits: Arc<Limits>,
    /// Renders the metrics, where a recorder is installed.
    pub metrics: Option<metrics_exporter_prometheus::PrometheusHandle>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Vouchsafe",
        description = "Eligibility verification: evidence in, eligibility out, a signed token at the gate. Errors are RFC 9457 problems."
    ),
    modifiers(&ClientCredentialsScheme)
)]
struct Description;

struct ClientCredentialsScheme;

impl utoipa::Modify for ClientCredentialsScheme {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let all = crate::service::admin::SCOPES.iter().chain(&crate::service::operators::OPERATOR_SCOPES);
        let scopes = Scopes::from_iter(all.map(|scope| (*scope, *scope)));
        let flow = Flow::ClientCredentials(ClientCredentials::new("/oauth2/token", scopes));
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("client", SecurityScheme::OAuth2(OAuth2::new([flow])));
        components.add_security_scheme("directory", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("operator", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// Routes that need an access token; each handler names its scope.
fn guarded() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(subjects::create, subjects::list))
        .routes(routes!(subjects::show, erasure::erase))
        .routes(routes!(erasure::export))
        .routes(routes!(erasure::place_hold, erasure::show_hold, erasure::lift_hold))
        .routes(routes!(subjects::link, subjects::links))
        .routes(routes!(subjects::unlink))
        .routes(routes!(subjects::bind_session))
        .routes(routes!(subjects::behind))
        .routes(routes!(evidence::attest, evidence::list))
        .routes(routes!(evidence::revoke))
        .routes(routes!(evidence::vouch))
        .routes(routes!(end_users::register))
        .routes(routes!(end_users::remove))
        .routes(routes!(end_users::show))
        .routes(routes!(roster::vouch_batch))
        .routes(routes!(evidence::withdraw))
        .routes(routes!(evidence::observe))
        .routes(routes!(decisions::eligibility))
        .routes(routes!(decisions::show))
        .routes(routes!(decisions::receipt))
        .routes(routes!(decisions::issue))
        .routes(routes!(rules::create_policy, rules::list_policies))
        .routes(routes!(rules::create_definition, rules::list_definitions))
        .routes(routes!(rules::create_set, rules::list_sets))
        .routes(routes!(rules::propose, rules::list_directives))
        .routes(routes!(rules::show_directive))
        .routes(routes!(rules::show_policy))
        .routes(routes!(rules::show_definition))
        .routes(routes!(rules::show_set))
        .routes(routes!(rules::approve))
        .routes(routes!(admin::create_organisation, admin::list_organisations))
        .routes(routes!(admin::create_source, admin::list_sources))
        .routes(routes!(clients::create, clients::list))
        .routes(routes!(clients::replace_keys))
        .routes(routes!(clients::renew_secret))
        .routes(routes!(clients::disable))
        .routes(routes!(clients::enable))
        .routes(routes!(admin::create_gateway, admin::list_gateways))
        .routes(routes!(admin::create_audience, admin::list_audiences))
        .routes(routes!(admissions::list))
        .routes(routes!(reports::gateways))
        .routes(routes!(reports::exposure))
        .routes(routes!(identity::create, identity::list))
        .routes(routes!(identity::show, identity::change))
        .routes(routes!(identity::renew_secret))
        .routes(routes!(directories::create, directories::list))
        .routes(routes!(directories::show, directories::change))
        .routes(routes!(directories::create_token))
        .routes(routes!(directories::revoke_token))
        .routes(routes!(operators::create, operators::list))
        .routes(routes!(operators::show))
        .routes(routes!(operators::disable))
        .routes(routes!(operators::sign_out))
        .routes(routes!(operators::change_password))
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::show, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::replay))
        .routes(routes!(webhooks::enable))
        .routes(routes!(webhooks::disable))
        .routes(routes!(ssf::receivers::create, ssf::receivers::list))
        .routes(routes!(ssf::receivers::show, ssf::receivers::change, ssf::receivers::delete))
        .routes(routes!(ssf::receivers::set_status))
        .routes(routes!(cases::list))
        .routes(routes!(cases::show))
        .routes(routes!(cases::evidence))
        .routes(routes!(cases::identifiers))
        .routes(routes!(cases::assign))
        .routes(routes!(cases::comment))
        .routes(routes!(cases::propose))
        .routes(routes!(cases::confirm))
        .routes(routes!(cases::reject))
        .routes(routes!(appeals::open, appeals::list))
        .routes(routes!(appeals::show))
        .routes(routes!(appeals::answer))
        .routes(routes!(suspensions::suspend_organisation))
        .routes(routes!(suspensions::reinstate_organisation))
        .routes(routes!(suspensions::suspend_source))
        .routes(routes!(suspensions::reinstate_source))
        .routes(routes!(admin::show_organisation))
        .routes(routes!(admin::show_source))
        .routes(routes!(clients::show))
        .routes(routes!(admin::show_gateway, admin::change_gateway))
        .routes(routes!(admin::renew_gateway_key))
        .routes(routes!(admin::disable_gateway))
        .routes(routes!(admin::enable_gateway))
        .routes(routes!(admin::show_audience))
}

/// Routes that authenticate in their own way, or are public by purpose.
fn public() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::introspect))
        .routes(routes!(oauth::revoke))
        .routes(routes!(oauth::metadata::jwks))
        .routes(routes!(oauth::metadata::authorization_server))
        .routes(routes!(oauth::metadata::openid_configuration))
        .routes(routes!(oauth::metadata::protected_resource))
        .routes(routes!(status_lists::all))
        .routes(routes!(status_lists::one))
        .routes(routes!(operators::sign_in))
        .routes(routes!(evidence::webhook))
        .routes(routes!(gateway::check))
        .routes(routes!(authzen::configuration))
        .routes(routes!(authzen::evaluation))
        .routes(routes!(authzen::evaluations))
        .routes(routes!(authzen::search::subjects))
        .routes(routes!(authzen::search::resources))
        .routes(routes!(authzen::search::actions))
        .routes(routes!(sso::userinfo::get, sso::userinfo::post))
        .routes(routes!(sso::okta::hook))
        .routes(routes!(sso::entra::hook))
        .routes(routes!(ssf::configuration))
        .routes(routes!(
            ssf::create_stream,
            ssf::show_stream,
            ssf::change_stream,
            ssf::replace_stream,
            ssf::delete_stream
        ))
        .routes(routes!(ssf::show_status, ssf::change_status))
        .routes(routes!(ssf::add_subject))
        .routes(routes!(ssf::remove_subject))
        .routes(routes!(ssf::verify_stream))
        .routes(routes!(ssf::poll))
        .routes(routes!(ssf::receive))
        .routes(routes!(admissions::upload))
        .routes(routes!(events::listen))
        .routes(routes!(scim::create, scim::list))
        .routes(routes!(scim::show, scim::replace, scim::change, scim::delete))
        .routes(routes!(scim::search))
        .routes(routes!(scim::search_all))
        .routes(routes!(scim::discovery::service))
        .routes(routes!(scim::discovery::resource_types))
        .routes(routes!(scim::discovery::resource_type))
        .routes(routes!(scim::discovery::all_schemas))
        .routes(routes!(scim::discovery::schema))
        .routes(routes!(ops::livez))
        .routes(routes!(ops::readyz))
}

/// The public listener.
pub fn router(edge: Edge) -> Router {
    let guarded = guarded();
    let posts = Posts { edge: edge.clone(), scopes: Arc::new(post_scopes(guarded.get_openapi())) };
    let guarded = guarded.layer(from_fn_with_state(posts, idempotency::repeat));
    let (router, openapi) =
        OpenApiRouter::with_openapi(Description::openapi()).merge(guarded).merge(public()).split_for_parts();
    let mut document = serde_json::to_value(&openapi).unwrap_or_default();
    describe_edge(&mut document);
    let page = docs::Page::new(&document);
    let document: Arc<str> = document.to_string().into();
    let describe = move || {
        let document = Arc::clone(&document);
        async move { ([("content-type", "application/json")], document.to_string()) }
    };
    router
        .route("/openapi.json", axum::routing::get(describe))
        // Any method and any path: a description of operations has no words for it.
        .route(ext_authz::ROUTE, axum::routing::any(ext_authz::check))
        .route("/docs", axum::routing::get(async move || page.clone()))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(Hall::new(edge.clone()), arrival::receive))
        .with_state(edge)
}

/// The scope that each guarded POST needs, by route, as its description says.
fn post_scopes(openapi: &utoipa::openapi::OpenApi) -> HashMap<String, String> {
    let document = serde_json::to_value(openapi).unwrap_or_default();
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    paths
        .filter_map(|(path, operations)| {
            let scope = operations.pointer("/post/security/0/client/0")?.as_str()?;
            Some((path.clone(), scope.to_owned()))
        })
        .collect()
}

/// Adds to every operation what the edge does around its handler.
fn describe_edge(document: &mut Value) {
    let problem = |text: &str| {
        json!({ "description": text, "content": { "application/problem+json":
            { "schema": { "$ref": "#/components/schemas/Problem" } } } })
    };
    let key = json!({ "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "for 24 h the same key and body get the first answer again",
        "schema": { "type": "string", "minLength": 1, "maxLength": 257, "pattern": "^[!-~]([ -~]*[!-~])?$" } });
    for (path, operations) in document.pointer_mut("/paths").and_then(Value::as_object_mut).into_iter().flatten() {
        for (method, operation) in operations.as_object_mut().into_iter().flatten() {
            let Some(operation) = operation.as_object_mut() else { continue };
            let scope = operation.get("security").and_then(|security| security.pointer("/0/client/0"));
            let once = method == "post" && scope.is_some() && path.starts_with("/v1/");
            if once && let Some(list) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
                list.push(key.clone());
            }
            let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
            for response in responses.values_mut().filter_map(|response| response.pointer_mut("/content")) {
                let is_problem = |content: &Value| {
                    content.pointer("/application~1json/schema/$ref") == Some(&json!("#/components/schemas/Problem"))
                };
                if is_problem(response)
                    && let Some(content) = response.as_object_mut()
                    && let Some(body) = content.remove("application/json")
                {
                    content.insert("application/problem+json".to_owned(), body);
                }
            }
            if path.ends_with("/livez") || path.ends_with("/readyz") {
                continue;
            }
            let mut add = |status: &str, text: &str| {
                responses.entry(status).or_insert_with(|| problem(text));
            };
            if ["/v1/subjects/{id}", "/v1/vouches", "/v1/observations"].iter().any(|about| path.starts_with(about)) {
                add("410", "the subject was erased");
            }
            add("429", "too many requests");
            if once {
                add("400", "the idempotency key cannot be used");
                add("409", "another attempt is at work, or its answer was lost");
                add("422", "the idempotency key was used with another body");
            }
        }
    }
}

/// The listener for gateways that ask by gRPC.
pub fn grpc_router(edge: Edge) -> Router {
    Router::new()
        .route(ext_authz::grpc::ROUTE, axum::routing::post(ext_authz::grpc::check))
        .fallback(ext_authz::grpc::unknown)
        .method_not_allowed_fallback(ext_authz::grpc::unknown)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn_with_state(Hall::new(edge.clone()), arrival::receive))
        .with_state(edge)
}

/// The admin listener: health and metrics.
pub fn admin_router(edge: Edge) -> Router {
    Router::new()
        .route("/livez", axum::routing::get(ops::livez))
        .route("/readyz", axum::routing::get(ops::readyz))
        .route("/metrics", axum::routing::get(ops::metrics))
        .with_state(edge)
}
