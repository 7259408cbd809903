//! Who calls: API clients by client credentials and short access tokens, gateways by key.

use super::clients::{ClientError, ClientProof};
use super::operators::is_session;
use super::remembered::Remembered;
use super::world::Client;
use super::{Actor, App, ServiceError, ServiceResult};
use crate::crypto::{is_secret_of, secret_matches};
use crate::token::Verified;
use crate::token::dpop::{self, DpopError};
use crate::token::keys::{Algorithm, Purpose};
use crate::token::verifier::{self, Audience, Expected};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Life of an access token, in seconds.
pub const ACCESS_TTL_SECS: i64 = 600;

/// How long a request waits for its turn to hash a secret.
const HASHING_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// An authenticated API client.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Client id.
    pub id: String,
    /// The person who answers for it.
    pub owner: String,
    /// Scopes of the token, never more than the client's.
    pub scopes: BTreeSet<String>,
    /// Sources it may speak for.
    pub sources: BTreeSet<String>,
    /// The organisation it is.
    pub organisation: Option<String>,
    /// The person who signed in, where it is one.
    pub operator: Option<OperatorCaller>,
}

/// A person who signed in.
#[derive(Debug, Clone)]
pub struct OperatorCaller {
    /// `opr_…`
    pub id: String,
    /// Digest of the sign-in's token; empty at the command line, where each command proves the password.
    pub session: String,
    /// Who they are as a subject.
    pub subject: Option<String>,
    /// The password has to be changed first.
    pub password_given: bool,
}

impl Caller {
    pub(super) fn of_client(id: &str, client: &Client, scopes: BTreeSet<String>) -> Self {
        Self {
            id: id.to_owned(),
            owner: client.owner.clone(),
            scopes,
            sources: client.sources.clone(),
            organisation: client.organisation.clone(),
            operator: None,
        }
    }

    /// Requires a scope.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require(&self, scope: &'static str) -> ServiceResult<()> {
        if self.operator.as_ref().is_some_and(|operator| operator.password_given) {
            return Err(ServiceError::PasswordGiven);
        }
        if self.scopes.contains(scope) { Ok(()) } else { Err(ServiceError::Forbidden(scope)) }
    }

    /// The person who signed in.
    ///
    /// # Errors
    /// `Forbidden` for a client: some things take a person.
    pub fn operator(&self) -> ServiceResult<&OperatorCaller> {
        self.operator.as_ref().ok_or(ServiceError::Forbidden("operator"))
    }

    /// Who acts, for the audit log.
    #[must_use]
    pub fn actor(&self) -> Actor {
        if self.operator.is_some() { Actor::operator(&self.id) } else { Actor::client(&self.id) }
    }
}

/// An access token as given to the client.
#[derive(Debug)]
pub struct AccessToken {
    /// The compact JWS.
    pub token: String,
    /// Its scopes.
    pub scopes: BTreeSet<String>,
}

/// What is remembered of a token.
pub(crate) struct Recalled {
    hash: [u8; 32],
    known: Option<Arc<Remembered>>,
}

/// Whoever brought an access token that was verified on the way in.
#[derive(Debug, Clone)]
pub struct Recognised {
    /// The client's or operator's id.
    pub id: String,
    /// A client's token.
    token: Option<Arc<Remembered>>,
}

/// A well-formed hash that matches no secret: an unknown client costs as much as a wrong secret.
pub(crate) const NO_CLIENT: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Whether a secret is the one hashed, away from where requests are answered.
pub(crate) async fn matches_in_turn(
    permit: tokio::sync::OwnedSemaphorePermit,
    secret: String,
    hash: String,
) -> ServiceResult<bool> {
    let matches = tokio::task::spawn_blocking(move || {
        // Held by the work itself: a caller that goes away does not make room for the next.
        let _permit = permit;
        secret_matches(&secret, &hash)
    });
    matches.await.map_err(|_| ServiceError::Unavailable("hashing"))
}

impl App {
    /// Checks a client's secret and gives a short access token (RFC 9068) to whoever holds it.
    ///
    /// # Errors
    /// `Unauthenticated` for unknown client, wrong secret and disabled client alike; otherwise as [`App::grant`].
    pub async fn access_token(
        &self,
        client_id: &str,
        secret: &str,
        wanted: Option<&str>,
    ) -> ServiceResult<AccessToken> {
        let proof = ClientProof::Secret { id: client_id, secret };
        let client = self.authenticate_client(proof).await.map_err(|error| match error {
            ClientError::Service(error) => error,
            ClientError::Unproven | ClientError::Unfit(_) => ServiceError::Unauthenticated,
        })?;
        self.grant(&client, wanted, None)
    }

    /// A short access token for a client that was authenticated, bound to the key of thumbprint `jkt`, if there is one.
    ///
    /// # Errors
    /// `Forbidden("scope")` when a scope is not the client's.
    pub fn grant(&self, client_id: &str, wanted: Option<&str>, jkt: Option<&str>) -> ServiceResult<AccessToken> {
        self.check_history()?;
        self.check_issuing()?;
        let world = self.world.load();
        let client = world.clients.get(client_id).ok_or(ServiceError::Unauthenticated)?;
        let scopes: BTreeSet<String> = match wanted {
            Some(text) => text.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
            None => client.scopes.clone(),
        };
        if !scopes.is_subset(&client.scopes) {
            return Err(ServiceError::Forbidden("scope"));
        }
        // A client whose tokens end in this second gets one of the next.
        let now = self.clock.now().epoch().max(client.tokens_from);
        let mut claims = json!({
            "iss": self.issuer, "aud": self.issuer, "sub": client_id, "client_id": client_id, "iat": now,
            "exp": now + ACCESS_TTL_SECS, "jti": self.id("jti")?,
            "scope": scopes.iter().cloned().collect::<Vec<_>>().join(" "),
        });
        if let (Some(jkt), Some(members)) = (jkt, claims.as_object_mut()) {
            members.insert("cnf".to_owned(), json!({ "jkt": jkt }));
        }
        let key = self.signer(Purpose::Access, Algorithm::Es256)?;
        Ok(AccessToken { token: key.sign("at+jwt", &claims)?, scopes })
    }

    /// Room for one password hash; whoever waits too long is told to come back.
    pub(crate) async fn hashing_permit(&self) -> ServiceResult<tokio::sync::OwnedSemaphorePermit> {
        let busy = ServiceError::Unavailable("hashing");
        match tokio::time::timeout(HASHING_PATIENCE, Arc::clone(&self.hashing).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| busy),
            Err(_) => Err(busy),
        }
    }

    /// A token of ours, verified once and then remembered by the hash of the whole token; its instants are judged at
    /// every use. For whom it is, the caller compares.
    ///
    /// # Errors
    /// `Unauthenticated`; says nothing more.
    pub(crate) async fn verify_own(&self, token: &str, purpose: Purpose) -> ServiceResult<Arc<Remembered>> {
        let recalled = self.recall(token).await;
        self.judge_own(token, &recalled, purpose).await
    }

    /// What is remembered of a token, beside the hash it is remembered by.
    pub(crate) async fn recall(&self, token: &str) -> Recalled {
        let mut hash = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        hash.copy_from_slice(digest.as_ref());
        Recalled { hash, known: self.verified.get(&hash).await }
    }

    /// As [`App::verify_own`], of what is remembered.
    pub(crate) async fn judge_own(
        &self,
        token: &str,
        recalled: &Recalled,
        purpose: Purpose,
    ) -> ServiceResult<Arc<Remembered>> {
        let profile = self.deployment.profile(purpose).ok_or(ServiceError::Unauthenticated)?;
        let now = self.clock.now().epoch();
        let known = match &recalled.known {
            Some(known) => Arc::clone(known),
            None => {
                let keys = self.keys.load();
                let expected = Expected { issuer: Some(&self.issuer), audience: Audience::AnyOne, at: now };
                let token = verifier::verify(token, keys.verifiers(purpose), profile, &expected)
                    .map_err(|_| ServiceError::Unauthenticated)?;
                let verified = Verified::read(&token, purpose).ok_or(ServiceError::Unauthenticated)?;
                let known = Arc::new(Remembered::new(verified));
                self.verified.insert(recalled.hash, Arc::clone(&known)).await;
                known
            }
        };
        if self.is_good(&known, purpose) { Ok(known) } else { Err(ServiceError::Unauthenticated) }
    }

    /// Whether a token that was verified is one of this purpose, now.
    fn is_good(&self, verified: &Verified, purpose: Purpose) -> bool {
        let Some(profile) = self.deployment.profile(purpose) else { return false };
        verified.purpose == purpose
            && verified.times.check(&profile.lifetime, self.clock.now().epoch()).is_ok()
            // Its revocation may be among what was lost with a piece of history.
            && verified.iat >= self.tokens_since_ms().div_euclid(1000)
            // SECURITY: what a retired key signed is dead, also where it was verified before.
            && self.keys.load().verifies(purpose, &verified.kid, self.clock.now_ms())
    }

    /// Whom an access token was given to, whatever it may still do.
    pub async fn recognise(&self, token: &str) -> Option<Recognised> {
        if is_session(token) {
            return self.signed_in_as(token).map(|id| Recognised { id, token: None });
        }
        let known = self.verify_own(token, Purpose::Access).await.ok()?;
        (known.aud == self.issuer).then(|| Recognised { id: known.client_id.clone(), token: Some(known) })
    }

    /// The API client or operator behind a bearer token.
    ///
    /// # Errors
    /// `Unauthenticated` for anything that is not a fresh access token of an enabled client or a sign-in that stands, and for
    /// a token that is bound to a key: whoever bears it has to prove that key.
    pub async fn caller(&self, token: &str) -> ServiceResult<Arc<Caller>> {
        self.recognised_caller(token, None).await
    }

    /// As [`App::caller`], where [`App::recognise`] may have looked at this very token already.
    ///
    /// # Errors
    /// The same.
    pub async fn recognised_caller(&self, token: &str, recognised: Option<&Recognised>) -> ServiceResult<Arc<Caller>> {
        if is_session(token) {
            return self.operator_caller(token).await.map(Arc::new);
        }
        self.check_history()?;
        let known = match recognised.and_then(|recognised| recognised.token.as_ref()) {
            Some(known) if self.is_good(known, Purpose::Access) && self.access_lives(known) => Arc::clone(known),
            Some(_) => return Err(ServiceError::Unauthenticated),
            None => self.living_access(token).await?,
        };
        if known.jkt.is_some() {
            return Err(ServiceError::Unauthenticated);
        }
        self.token_caller(&known)
    }

    /// The API client behind a token that is bound to a key, with its proof for this request (RFC 9449 section 7).
    ///
    /// # Errors
    /// `Unauthenticated` as for [`App::caller`], and for a token that is not bound; `Unproven` for a proof that does not hold,
    /// is of another key, or was used before.
    pub async fn bound_caller(&self, token: &str, proof: &str, method: &str, path: &str) -> ServiceResult<Arc<Caller>> {
        self.check_history()?;
        let known = self.living_access(token).await?;
        let jkt = known.jkt.as_deref().ok_or(ServiceError::Unauthenticated)?;
        let url = format!("{}{path}", self.issuer);
        self.prove(proof, dpop::Request { method, url: &url, token: Some(token) }, Some(jkt)).await?;
        self.token_caller(&known)
    }

    /// Verifies a proof of possession and spends it; gives the thumbprint of its key, which is `bound` where the token says so.
    ///
    /// # Errors
    /// `Unproven`.
    pub async fn prove(&self, proof: &str, request: dpop::Request<'_>, bound: Option<&str>) -> ServiceResult<String> {
        let now = self.clock.now().epoch();
        let held = dpop::verify(proof, request, now).map_err(ServiceError::Unproven)?;
        if bound.is_some_and(|bound| bound != held.jkt) {
            return Err(ServiceError::Unproven(DpopError::Unfit("it is not of the key that the token is bound to")));
        }
        let until = held.iat + dpop::WINDOW_SECS + 1;
        if self.spend(&format!("dpop/{}", held.jkt), &held.jti, until).await? {
            Ok(held.jkt)
        } else {
            Err(ServiceError::Unproven(DpopError::Unfit("its `jti` was used before")))
        }
    }

    /// The gateway behind `X-Gateway-Key: id.secret`.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub fn gateway(&self, key: &str) -> ServiceResult<Arc<super::world::Gateway>> {
        let (id, secret) = key.split_once('.').ok_or(ServiceError::Unauthenticated)?;
        let world = self.world.load();
        let gateway =
            world.gateways.get(id).filter(|gateway| !gateway.disabled).ok_or(ServiceError::Unauthenticated)?;
        let former = || gateway.former_key.as_ref().filter(|former| self.clock.now_ms() < former.until_ms);
        let is_former = || former().is_some_and(|former| is_secret_of(secret, &former.key_sha256));
        if is_secret_of(secret, &gateway.key_sha256) || is_former() {
            Ok(Arc::clone(gateway))
        } else {
            Err(ServiceError::Unauthenticated)
        }
    }
}
