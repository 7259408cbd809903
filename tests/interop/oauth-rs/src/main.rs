//! oauth2 and openidconnect: client credentials, exchange, verification, introspection, revocation.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use oauth2::basic::{BasicClient, BasicTokenType};
use oauth2::{
    AccessToken, AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, IntrospectionUrl, RequestTokenError,
    RevocationUrl, Scope, StandardRevocableToken, TokenIntrospectionResponse as _, TokenResponse as _, TokenUrl,
};
use openidconnect::JsonWebKey as _;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use serde_json::{Value, json};
use std::process::ExitCode;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn agent() -> ureq::Agent {
    let timeout = Some(std::time::Duration::from_secs(10));
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(timeout).build().into()
}

/// The HTTP client that both crates are given.
fn http(request: HttpRequest) -> Result<HttpResponse, ureq::Error> {
    let (head, mut body) = agent().run(request)?.into_parts();
    Ok(HttpResponse::from_parts(head, body.read_to_vec()?))
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn check(holds: bool, what: impl std::fmt::Display) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_string().into()) }
}

struct Machine {
    url: String,
    id: String,
    secret: String,
}

impl Machine {
    fn register(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let scopes = ["tokens:issue", "tokens:introspect", "tokens:revoke", "subjects:read"];
        let body = json!({ "name": "rust", "owner": "Rui", "scopes": scopes });
        let mut answer = agent()
            .post(format!("{url}/v1/clients"))
            .header("authorization", format!("Bearer {}", env("ADMIN")))
            .header("content-type", "application/json")
            .send(body.to_string())?;
        let made: Value = serde_json::from_slice(&answer.body_mut().read_to_vec()?)?;
        let text = |name: &str| made[name].as_str().map(str::to_owned).ok_or(made.to_string());
        Ok(Self { url: url.to_owned(), id: text("client_id")?, secret: text("client_secret")? })
    }

    /// What the crate has no method for: a grant of another kind.
    fn exchange(&self, subject: &str) -> Result<Value, Box<dyn std::error::Error>> {
        let resource = format!("{}/resources/restricted.api", self.url);
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:vouchsafe:params:oauth:token-type:subject"),
            ("subject_token", subject),
            ("resource", &resource),
            ("audience", "edge"),
            ("client_id", &self.id),
            ("client_secret", &self.secret),
        ];
        let mut answer = agent().post(format!("{}/oauth2/token", self.url)).send_form(form)?;
        Ok(serde_json::from_slice(&answer.body_mut().read_to_vec()?)?)
    }
}

fn run(machine: &Machine, steps: &mut Vec<(&'static str, Outcome)>) -> Outcome {
    let at = |path: &str| format!("{}{path}", machine.url);
    let client = BasicClient::new(ClientId::new(machine.id.clone()))
        .set_client_secret(ClientSecret::new(machine.secret.clone()))
        .set_token_uri(TokenUrl::new(at("/oauth2/token"))?)
        .set_introspection_url(IntrospectionUrl::new(at("/oauth2/introspect"))?)
        .set_revocation_url(RevocationUrl::new(at("/oauth2/revoke"))?);

    for (name, way) in [
        ("oauth2: client credentials, Basic", AuthType::BasicAuth),
        ("oauth2: client credentials, in the form", AuthType::RequestBody),
    ] {
        let obtain = || -> Outcome {
            let client = client.clone().set_auth_type(way.clone());
            let token = client.exchange_client_credentials().add_scope(Scope::new("subjects:read".into())).request(&http)?;
            check(*token.token_type() == BasicTokenType::Bearer, "the type")?;
            let used = agent()
                .get(at("/v1/subjects"))
                .header("authorization", format!("Bearer {}", token.access_token().secret()))
                .call()?;
            check(used.status() == 200, used.status())
        };
        steps.push((name, obtain()));
    }
    let wrong = || -> Outcome {
        let client = client.clone().set_client_secret(ClientSecret::new("wrong".into()));
        match client.exchange_client_credentials().request(&http) {
            Err(RequestTokenError::ServerResponse(error)) => check(error.error().as_ref() == "invalid_client", error),
            other => Err(format!("{other:?}").into()),
        }
    };
    steps.push(("oauth2: a wrong secret is refused", wrong()));

    let exchanged = machine.exchange(&env("ELIGIBLE"))?;
    let token = exchanged["access_token"].as_str().ok_or(exchanged.to_string())?.to_owned();
    let verify = || -> Outcome {
        let url = openidconnect::JsonWebKeySetUrl::new(at("/.well-known/jwks.json"))?;
        let keys = CoreJsonWebKeySet::fetch(&url, &http)?;
        let (signed, signature) = token.rsplit_once('.').ok_or("no token")?;
        let (head, _) = signed.split_once('.').ok_or("no token")?;
        let head: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(head)?)?;
        let named = |key: &&_| openidconnect::core::CoreJsonWebKey::key_id(key).map(|id| id.as_str()) == head["kid"].as_str();
        let key = keys.keys().iter().find(named).ok_or("no such key")?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
        let algorithm = CoreJwsSigningAlgorithm::EcdsaP256Sha256;
        key.verify_signature(&algorithm, signed.as_bytes(), &signature)?;
        let forged = signed.replacen('.', ".A", 1);
        check(key.verify_signature(&algorithm, forged.as_bytes(), &signature).is_err(), "a forged token verifies")
    };
    steps.push(("openidconnect: the exchanged token verifies, and nothing else", verify()));
    let refused = machine.exchange(&env("NEWCOMER"))?;
    steps.push(("exchange: who is not eligible", check(refused["error"] == "invalid_target", refused)));

    let token = AccessToken::new(token);
    let active = || -> Result<bool, Box<dyn std::error::Error>> {
        Ok(client.introspect(&token).request(&http)?.active())
    };
    steps.push(("oauth2: introspection", active().and_then(|active| check(active, "not active"))));
    let revoke = || -> Outcome {
        client.revoke_token(StandardRevocableToken::AccessToken(token.clone()))?.request(&http)?;
        check(!active()?, "still active")
    };
    // The crate refuses to revoke where there is no TLS; then the request is made by hand.
    let by_hand = || -> Outcome {
        let form = [("token", token.secret().as_str()), ("client_id", &machine.id), ("client_secret", &machine.secret)];
        let answer = agent().post(at("/oauth2/revoke")).send_form(form)?;
        check(answer.status() == 200 && !active()?, answer.status())
    };
    match revoke() {
        Err(error) if error.to_string().to_ascii_lowercase().contains("insecure") || error.to_string().contains("HTTPS") => {
            steps.push(("revocation by hand (oauth2 revokes over TLS only)", by_hand()));
        }
        done => steps.push(("oauth2: revocation", done)),
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut steps = Vec::new();
    let all = Machine::register(&env("URL")).and_then(|machine| run(&machine, &mut steps));
    if let Err(error) = all {
        steps.push(("setting out", Err(error)));
    }
    let mut failed = 0;
    for (name, outcome) in &steps {
        match outcome {
            Ok(()) => println!("ok    {name}"),
            Err(error) => {
                failed += 1;
                println!("FAIL  {name}: {error}");
            }
        }
    }
    println!("{} passed, {failed} failed", steps.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
