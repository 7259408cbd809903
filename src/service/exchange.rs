//! Token exchange (RFC 8693): who a client brings becomes an eligibility token, by the same decision as any other.

use super::authenticate::Caller;
use super::issue::{Issued, SESSION_OVER, Terms, Wanted};
use super::remembered::Remembered;
use super::world::Client;
use super::{App, ServiceError, ServiceResult};
use crate::intake::vouch::{VouchSubject, parse_subject};
use crate::storage::StoredSessionOf;
use crate::token::Verified;
use crate::token::keys::Purpose;
use serde_json::{Value, json};
use std::sync::Arc;
use vouchsafe_core::end_users::Refusal;
use vouchsafe_core::ids::{ResourceId, SubjectId};
use vouchsafe_core::{Decision, Second};

/// A subject by our id.
pub const SUBJECT: &str = "urn:vouchsafe:params:oauth:token-type:subject";
/// A subject by a link, as `namespace:id`.
pub const LINK: &str = "urn:vouchsafe:params:oauth:token-type:link";
/// An ID token of a registered identity provider.
pub const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// An access token of ours, as `actor_token`.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// An end user of the acting organisation, by its handle.
pub const END_USER: &str = "urn:vouchsafe:params:oauth:token-type:end-user";
/// What comes out, and as `actor_token` the acting party's own eligibility token: a JWT.
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What a client asks for.
#[derive(Debug, Default)]
pub struct Exchange<'a> {
    /// Whom it brings.
    pub subject_token: &'a str,
    /// How they are named.
    pub subject_token_type: &'a str,
    /// Who acts, where it is not the client itself: token and type.
    pub actor: Option<(&'a str, &'a str)>,
    /// Values of `resource`.
    pub resources: &'a [String],
    /// Values of `audience`.
    pub audiences: &'a [String],
    /// The organisation acted for.
    pub acting_for: Option<&'a str>,
    /// Thumbprint of the key that the token is to be bound to.
    pub jkt: Option<&'a str>,
}

/// Why nothing is exchanged.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Something about the request or its tokens (RFC 8693 section 2.2.2: `invalid_request`).
    #[error("request: {0}")]
    Request(&'static str),
    /// No token is made for that resource and audience (`invalid_target`).
    #[error("target: {0}")]
    Target(&'static str),
    /// The subject is not eligible for that resource: no token is made for it (`invalid_target`).
    #[error("not eligible")]
    NotEligible(Box<Decision>),
    /// The end user is not as the resource asks: no token is made for it (`invalid_target`).
    #[error("end user: {}", .0.code())]
    EndUser(Refusal),
    /// It cannot be known now.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Whom a subject token names, and until when it may be relied on.
struct Brought {
    subject: SubjectId,
    until: Option<Second>,
    /// The session at an identity provider that it comes from.
    session: StoredSessionOf,
}

/// Who acts for an end user.
struct Serving {
    subject: SubjectId,
    acting_for: Option<SubjectId>,
    /// Who acts for them in turn.
    through: Option<Value>,
    until: Option<Second>,
}

impl App {
    /// Exchanges what a client brings for an eligibility token: never wider than the decision, never longer than it, the
    /// subject token or the actor token.
    ///
    /// # Errors
    /// [`ExchangeError`].
    pub async fn exchange(&self, caller: &Caller, asked: &Exchange<'_>) -> Result<Issued, ExchangeError> {
        let (resource, audience) = self.target(asked)?;
        if asked.subject_token_type == END_USER {
            return self.exchange_end_user(caller, asked, &resource, &audience).await;
        }
        let (act, actor_until) = self.acting_party(caller, asked.actor).await?;
        let brought = self.brought(asked).await?;
        let acting_for = asked.acting_for.map(|name| self.organisation_subject(name)).transpose();
        let acting_for = acting_for.map_err(|_| ExchangeError::Request("`vouchsafe_acting_for` is no organisation"))?;
        let wanted = Wanted {
            subject: &brought.subject,
            acting_for: acting_for.as_ref(),
            resource: &resource,
            audience: &audience,
            end_user: None,
        };
        let not_after = [brought.until, actor_until].into_iter().flatten().min();
        let terms = Terms { act: Some(&act), jkt: asked.jkt, not_after, session: Some(&brought.session) };
        self.issue_on(&caller.actor(), &caller.id, wanted, terms).await.map_err(|error| match error {
            ServiceError::NotEligible(decision) => ExchangeError::NotEligible(decision),
            // Erased, or never there: told alike.
            ServiceError::Erased | ServiceError::NotFound("subject") => ExchangeError::Request(NOBODY),
            ServiceError::NotFound(_) => ExchangeError::Request("`vouchsafe_acting_for` is no organisation"),
            ServiceError::Invalid { .. } => ExchangeError::Target("the audience takes no tokens for this resource"),
            ServiceError::Conflict(SESSION_OVER) => {
                ExchangeError::Request("`subject_token` is of a session that is over")
            }
            error => ExchangeError::Service(error),
        })
    }

    /// Exchanges the handle of an end user for a token about them, by which the acting party may use the resource on their
    /// behalf.
    async fn exchange_end_user(
        &self,
        caller: &Caller,
        asked: &Exchange<'_>,
        resource: &ResourceId,
        audience: &str,
    ) -> Result<Issued, ExchangeError> {
        if asked.acting_for.is_some() {
            return Err(ExchangeError::Request("for whom an end user is served follows from the acting party"));
        }
        let acting = self.serving_party(caller, asked.actor, resource, audience).await?;
        let wanted = Wanted {
            subject: &acting.subject,
            acting_for: acting.acting_for.as_ref(),
            resource,
            audience,
            end_user: Some(asked.subject_token),
        };
        let terms = Terms { act: acting.through.as_ref(), jkt: asked.jkt, not_after: acting.until, session: None };
        self.issue_on(&caller.actor(), &caller.id, wanted, terms).await.map_err(|error| match error {
            ServiceError::NotEligible(decision) => ExchangeError::NotEligible(decision),
            // Another's, nobody's and erased: told alike.
            ServiceError::EndUser(Refusal::Unknown) => ExchangeError::Request(NOBODY),
            ServiceError::EndUser(refusal) => ExchangeError::EndUser(refusal),
            ServiceError::Erased | ServiceError::NotFound(_) => ExchangeError::Request(NO_CUSTOMER),
            ServiceError::Invalid { .. } => ExchangeError::Target("the audience takes no tokens for this resource"),
            error => ExchangeError::Service(error),
        })
    }

    /// The party that acts for an end user: whoever an eligibility token of theirs is about, or the organisation that the
    /// client is.
    async fn serving_party(
        &self,
        caller: &Caller,
        actor: Option<(&str, &str)>,
        resource: &ResourceId,
        audience: &str,
    ) -> Result<Serving, ExchangeError> {
        let own = match caller.organisation.as_deref() {
            Some(organisation) => {
                Some(self.organisation_subject(organisation).map_err(|_| ExchangeError::Request(NO_CUSTOMER))?)
            }
            None => None,
        };
        let (token, kind) = match actor {
            None => {
                let subject = own.ok_or(ExchangeError::Request(NO_CUSTOMER))?;
                return Ok(Serving { subject, acting_for: None, through: None, until: None });
            }
            Some(actor) => actor,
        };
        if kind != JWT {
            return Err(ExchangeError::Request("`actor_token_type` must be that of an eligibility token"));
        }
        let unfit =
            || ExchangeError::Request("`actor_token` is no valid eligibility token for this resource and audience");
        let verified = self.verify_own(token, Purpose::Eligibility).await.map_err(|error| match error {
            ServiceError::Unauthenticated => unfit(),
            error => ExchangeError::Service(error),
        })?;
        // SECURITY: nothing here proves a key, and an end user acts for nobody.
        let fits = verified.aud == audience
            && verified.resource.as_deref() == Some(resource.as_str())
            && verified.jkt.is_none()
            && verified.acted_for.is_none()
            && !self.is_revoked(&verified.jti);
        let bearer = self.bearer(&verified)?.filter(|_| fits).ok_or_else(unfit)?;
        // SECURITY: an organisation's client acts for no other organisation's end users, whosever token it has got hold of.
        if let Some(own) = own
            && self.customer_of(&bearer.subject).await? != Some(own)
        {
            return Err(unfit());
        }
        Ok(Serving {
            subject: bearer.subject,
            acting_for: bearer.acting_for,
            through: verified.act.clone(),
            until: Some(Second::from_epoch(verified.exp)),
        })
    }

    /// The restricted resource, and the audience that the token is made for.
    fn target(&self, asked: &Exchange<'_>) -> Result<(ResourceId, String), ExchangeError> {
        let [uri] = asked.resources else {
            return Err(ExchangeError::Target("name one `resource`: a token is for one"));
        };
        let resource = self.resource_of(uri).ok_or(ExchangeError::Target("`resource` is unknown"))?;
        let world = self.world.load();
        let covers = |id: &String| {
            world.audiences.get(id).is_some_and(|audience| audience.resources.iter().any(|own| own.covers(&resource)))
        };
        match asked.audiences {
            [named] if covers(named) => Ok((resource, named.clone())),
            [_] => Err(ExchangeError::Target("`audience` is unknown, or takes no tokens for this resource")),
            [] => {
                let mut fit = world.audiences.keys().filter(|id| covers(id));
                match (fit.next(), fit.next()) {
                    (Some(only), None) => Ok((resource, only.clone())),
                    (None, _) => Err(ExchangeError::Target("`resource` is unknown")),
                    _ => Err(ExchangeError::Target("name one `audience`: several take tokens for this resource")),
                }
            }
            _ => Err(ExchangeError::Target("name one `audience`: a token is for one")),
        }
    }

    /// The restricted resource behind `{issuer}/resources/{id}` (RFC 8707).
    pub(crate) fn resource_of(&self, uri: &str) -> Option<ResourceId> {
        let id = uri.strip_prefix(self.issuer.as_str())?.strip_prefix("/resources/")?;
        ResourceId::parse(id).ok()
    }

    /// The `act` claim: the acting client, or the one whose access token it brings as `actor_token`.
    async fn acting_party(
        &self,
        caller: &Caller,
        actor: Option<(&str, &str)>,
    ) -> Result<(Value, Option<Second>), ExchangeError> {
        match actor {
            None => Ok((json!({ "sub": caller.id }), None)),
            Some((token, ACCESS_TOKEN)) => {
                let unfit = || ExchangeError::Request("`actor_token` is no valid access token of this service");
                let acting = self.living_access(token).await.map_err(|error| match error {
                    ServiceError::Unauthenticated => unfit(),
                    error => ExchangeError::Service(error),
                })?;
                // Nothing here proves the key that it is bound to.
                if acting.jkt.is_some() {
                    return Err(ExchangeError::Request("`actor_token` is bound to a key: bring one that is not"));
                }
                Ok((json!({ "sub": acting.sub }), Some(Second::from_epoch(acting.exp))))
            }
            Some(_) => Err(ExchangeError::Request("`actor_token_type` must be that of an access token")),
        }
    }

    async fn brought(&self, asked: &Exchange<'_>) -> Result<Brought, ExchangeError> {
        let nobody = || ExchangeError::Request(NOBODY);
        let mut session = StoredSessionOf::default();
        let (subject, until) = match asked.subject_token_type {
            SUBJECT => (asked.subject_token.to_owned(), None),
            LINK => match parse_subject(asked.subject_token) {
                Some(VouchSubject::Link { namespace, id }) => {
                    (self.resolve_link(&namespace, &id).await?.ok_or_else(nobody)?, None)
                }
                _ => return Err(ExchangeError::Request("`subject_token` is no link such as `namespace:id`")),
            },
            ID_TOKEN => {
                let Some((provider, identity)) = self.identify(asked.subject_token).await? else {
                    return Err(ExchangeError::Request(
                        "`subject_token` is no valid ID token of a registered provider",
                    ));
                };
                let subject = self.resolve_link(&provider.namespace, &identity.sub).await?.ok_or_else(nobody)?;
                session = self.session_of(&provider, &identity);
                (subject, Some(Second::from_epoch(identity.exp)))
            }
            _ => return Err(ExchangeError::Request("`subject_token_type` is not supported")),
        };
        let subject = SubjectId::parse(&subject).map_err(|_| nobody())?;
        Ok(Brought { subject, until, session })
    }

    /// An access token of ours that is worth something now.
    pub(crate) async fn living_access(&self, token: &str) -> ServiceResult<Arc<Remembered>> {
        let verified = self.verify_own(token, Purpose::Access).await?;
        if self.access_lives(&verified) { Ok(verified) } else { Err(ServiceError::Unauthenticated) }
    }

    /// Whether a verified access token still opens anything.
    pub(crate) fn access_lives(&self, verified: &Verified) -> bool {
        // SECURITY: a token about one subject's claims opens these alone; see `sso`.
        let is_clients = verified.resource.is_none() && verified.sub == verified.client_id;
        is_clients && self.stands_for_client(verified)
    }

    /// Whether an access token for this service still stands as far as its client goes: it is enabled, and neither the
    /// token was revoked nor the client's credentials replaced since.
    pub(crate) fn stands_for_client(&self, verified: &Verified) -> bool {
        let world = self.world.load();
        let stands = |client: &Arc<Client>| !client.disabled && verified.iat >= client.tokens_from;
        verified.aud == self.issuer
            && world.clients.get(&verified.client_id).is_some_and(stands)
            && !self.is_revoked(&verified.jti)
    }
}

/// For a client that is no organisation's and brings nobody who is.
const NO_CUSTOMER: &str = "the acting party is no organisation, and no workload of one";

/// For a subject token that names nobody, whatever the reason.
const NOBODY: &str = "`subject_token` names nobody we know";
