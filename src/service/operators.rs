//! Operators: the people who review, direct, audit and administer, each with a log-in of their own.
//!
//! An operator signs in with a password (argon2id) and gets an opaque token, of which only a digest is stored. A sign-in
//! holds while the operator's record is at the version it was opened under, so whatever changes the operator (a new
//! password, disabling, a reset) ends every sign-in in that very commit.

pub mod sessions;
mod tries;

use super::authenticate::Caller;
use super::direct::person;
use super::world::{self, World};
use super::{Actor, App, ServiceError, ServiceResult, invalid};
use crate::crypto::{hash_secret, new_secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use vouchsafe_core::ids::SubjectId;

pub(crate) use sessions::{REMEMBERED_MS, is_session};
pub(crate) use tries::Tries;

/// How an operator's id begins, before the name they sign in with: no client has such an id.
const PREFIX: &str = "opr_";

/// Shortest password, in characters (NIST SP 800-63B-4, section 3.1.1.2: a password that is the only factor).
pub const PASSWORD_MIN: usize = 15;
/// Longest password, in bytes.
const PASSWORD_MAX: usize = 256;
/// Fewest different characters of a password.
const PASSWORD_VARIETY: usize = 6;

/// What only operators may do, beside the scopes that clients can hold: it takes a person.
pub const OPERATOR_SCOPES: [&str; 2] = ["cases:review", "cases:identify"];

/// What an operator is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks at cases and decides them, with a second reviewer.
    Reviewer,
    /// Commits rules, proposes and approves directives, and reviews.
    Compliance,
    /// Reads; changes nothing and sees no identifiers.
    Auditor,
    /// Administers clients, sources and operators.
    Admin,
}

impl Role {
    /// All of them.
    pub const NAMES: &str = "`reviewer`, `compliance`, `auditor`, `admin`";

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(Value::String(text.to_owned())).ok()
    }

    /// What it may do.
    #[must_use]
    pub fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Reviewer => &[
                "cases:read",
                "cases:review",
                "cases:identify",
                "appeals:read",
                "attestations:read",
                "decisions:explain",
                "eligibility:read",
                "rules:read",
            ],
            Self::Compliance => &[
                "cases:read",
                "cases:review",
                "cases:identify",
                "appeals:read",
                "attestations:read",
                "decisions:explain",
                "eligibility:read",
                "admissions:read",
                "rules:read",
                "rules:write",
                "directives:propose",
                "directives:approve",
            ],
            Self::Auditor => &[
                "cases:read",
                "appeals:read",
                "attestations:read",
                "decisions:explain",
                "eligibility:read",
                "admissions:read",
                "rules:read",
            ],
            Self::Admin => &["admin", "rules:read", "webhooks"],
        }
    }
}

/// An operator's record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The person's name.
    pub name: String,
    /// What they are there for.
    pub roles: BTreeSet<Role>,
    /// Who they are as a subject, if they are one: nobody looks at their own case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Argon2id of the password.
    pub secret_hash: String,
    /// The password was given to them and has to be changed before anything else.
    pub password_given: bool,
    /// Who gave the last password, by name; `None` where that was done at the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_by: Option<String>,
    /// Switched off.
    #[serde(default)]
    pub disabled: bool,
}

impl Operator {
    /// What the roles allow.
    #[must_use]
    pub fn scopes(&self) -> BTreeSet<String> {
        self.roles.iter().flat_map(|role| role.scopes()).map(|scope| (*scope).to_owned()).collect()
    }

    /// Whether two operators are two people as far as anybody can tell. An administrator who gave both their passwords
    /// could sign in as either; so could one who gave the other's and is the first.
    #[must_use]
    pub fn is_independent_of(&self, other: &Self) -> bool {
        let given = |operator: &Self| operator.given_by.as_deref().map(person);
        let (name, theirs) = (person(&self.name), person(&other.name));
        let one_giver = given(self).is_some() && given(self) == given(other);
        name != theirs && !one_giver && given(self) != Some(theirs) && given(other) != Some(name)
    }
}

/// An operator to make.
#[derive(Debug, Clone)]
pub struct NewOperator {
    /// The name to sign in with.
    pub login: String,
    /// The person's name.
    pub name: String,
    /// What they are there for.
    pub roles: BTreeSet<Role>,
    /// Who they are as a subject.
    pub subject: Option<String>,
}

/// An operator just made, with a password shown once.
#[derive(Debug)]
pub struct CreatedOperator {
    /// `opr_…`
    pub id: String,
    /// To be changed at the first sign-in.
    pub password: String,
}

/// The id behind a name to sign in with; the name may come in capitals, or as the id itself.
#[must_use]
pub fn operator_id(login: &str) -> String {
    let login = login.trim().to_lowercase();
    format!("{PREFIX}{}", login.strip_prefix(PREFIX).unwrap_or(&login))
}

fn login_ok(login: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=64).contains(&login.len()) && login.bytes().all(safe)
}

/// Refuses what is guessed soonest; nobody is told to mix signs.
fn check_password(operator: &str, password: &str) -> ServiceResult<()> {
    let refuse = |problem: &str| Err(invalid("/new_password", problem));
    let different: BTreeSet<char> = password.chars().collect();
    let login = operator.strip_prefix(PREFIX).unwrap_or(operator);
    if password.chars().count() < PASSWORD_MIN {
        refuse("must have at least 15 characters; a few words will do")
    } else if password.len() > PASSWORD_MAX {
        refuse("must have at most 256 bytes")
    } else if different.len() < PASSWORD_VARIETY {
        refuse("repeats itself: use at least 6 different characters")
    } else if login.len() > 2 && password.to_lowercase().contains(login) {
        refuse("holds the name that you sign in with")
    } else {
        Ok(())
    }
}

impl App {
    /// Makes an operator with a password that is shown once and has to be changed.
    ///
    /// # Errors
    /// `Invalid` naming the member; `Conflict` for a name that was ever used: names in the audit log mean one person.
    pub async fn create_operator(&self, by: &Maker<'_>, new: NewOperator) -> ServiceResult<CreatedOperator> {
        let login = new.login.trim().to_lowercase();
        if !login_ok(&login) || login.starts_with(PREFIX) {
            return Err(invalid("/login", "use 1 to 64 of `a-z 0-9 . _ -`, not beginning with `opr_`"));
        }
        if new.name.trim().is_empty() || new.name.len() > 200 {
            return Err(invalid("/name", "name the person in 1 to 200 bytes"));
        }
        if new.roles.is_empty() {
            return Err(invalid("/roles", format!("choose from {}", Role::NAMES)));
        }
        if let Some(subject) = &new.subject {
            let known = SubjectId::parse(subject).is_ok() && self.store.subject(subject).await?.is_some();
            if !known {
                return Err(invalid("/subject", "no such subject"));
            }
        }
        let id = operator_id(&login);
        let password = new_secret()?;
        let operator = Operator {
            name: new.name,
            roles: new.roles,
            subject: new.subject,
            secret_hash: self.hashed(password.clone()).await?,
            password_given: true,
            given_by: by.name(),
            disabled: false,
        };
        let detail = json!({ "name": operator.name, "roles": operator.roles, "subject": operator.subject });
        self.create_record(&by.actor(), "operator", &id, &operator, None, detail).await?;
        Ok(CreatedOperator { id, password })
    }

    /// Switches an operator off; every sign-in ends with it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn disable_operator(&self, actor: &Actor, id: &str) -> ServiceResult<()> {
        let (mut operator, version) = self.load_operator(id).await?;
        operator.disabled = true;
        self.write_record(actor, "operator", id, &operator, None, version, "disabled", json!({})).await
    }

    /// Gives an operator a new password, shown once, and switches them on again: for the machine's own command line only.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when another change came first.
    pub async fn reset_operator(&self, id: &str) -> ServiceResult<CreatedOperator> {
        let (mut operator, version) = self.load_operator(id).await?;
        let password = new_secret()?;
        operator.secret_hash = self.hashed(password.clone()).await?;
        (operator.password_given, operator.given_by, operator.disabled) = (true, None, false);
        let actor = Actor::command_line();
        self.write_record(&actor, "operator", id, &operator, None, version, "reset", json!({})).await?;
        Ok(CreatedOperator { id: id.to_owned(), password })
    }

    /// Changes the caller's own password; every sign-in ends, this one too.
    ///
    /// # Errors
    /// `Unauthenticated` for a wrong password, `TooManyTries`; `Invalid` for a new one that is guessed too soon.
    pub async fn change_password(&self, caller: &Caller, site: u64, current: &str, new: &str) -> ServiceResult<()> {
        let id = &caller.operator()?.id;
        check_password(id, new)?;
        let (mut operator, version) = self.prove_password(id, site, current).await?;
        if current == new {
            return Err(invalid("/new_password", "is the one you have"));
        }
        operator.secret_hash = self.hashed(new.to_owned()).await?;
        operator.password_given = false;
        let actor = caller.actor();
        self.write_record(&actor, "operator", id, &operator, None, version, "password_changed", json!({})).await
    }

    /// An operator's record and its version.
    pub(crate) async fn load_operator(&self, id: &str) -> ServiceResult<(Operator, i64)> {
        let record = self.store.record("operator", id).await?.ok_or(ServiceError::NotFound("operator"))?;
        Ok((world::parse(&record)?, record.version))
    }

    /// Argon2id of a password, in its turn.
    pub(crate) async fn hashed(&self, password: String) -> ServiceResult<String> {
        let permit = self.hashing_permit().await?;
        let hashed = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller that goes away does not make room for the next.
            let _permit = permit;
            hash_secret(&password)
        });
        Ok(hashed.await.map_err(|_| ServiceError::Unavailable("hashing"))??)
    }
}

/// Who makes an operator: a person behind a client or a log-in, or whoever holds the machine.
#[derive(Debug)]
pub enum Maker<'a> {
    /// Over the API.
    Caller(&'a Caller),
    /// At the machine, with its keys.
    CommandLine,
}

impl Maker<'_> {
    fn actor(&self) -> Actor {
        match self {
            Self::Caller(caller) => caller.actor(),
            Self::CommandLine => Actor::command_line(),
        }
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Caller(caller) => Some(caller.owner.clone()),
            Self::CommandLine => None,
        }
    }
}

impl World {
    /// Whether the client or operator of this id stands and has the scope.
    #[must_use]
    pub fn may(&self, id: &str, scope: &str) -> bool {
        let client = self.clients.get(id).is_some_and(|client| !client.disabled && client.scopes.contains(scope));
        let operator =
            self.operators.get(id).is_some_and(|operator| !operator.disabled && operator.scopes().contains(scope));
        client || operator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, given_by: Option<&str>) -> Operator {
        Operator {
            name: name.to_owned(),
            roles: BTreeSet::from([Role::Reviewer]),
            subject: None,
            secret_hash: String::new(),
            password_given: false,
            given_by: given_by.map(str::to_owned),
            disabled: false,
        }
    }

    #[test]
    fn two_operators_are_two_people_only_if_no_one_could_be_both() {
        let independent = |a: &Operator, b: &Operator| {
            assert_eq!(a.is_independent_of(b), b.is_independent_of(a));
            a.is_independent_of(b)
        };
        let (cam, lee) = (operator("Cam Doe", None), operator("Lee Roe", None));
        assert!(independent(&cam, &lee));
        assert!(!independent(&cam, &operator("  cam   DOE ", None)), "one person under two names to sign in with");
        assert!(!independent(&operator("A", Some("Ada")), &operator("B", Some("ada"))), "one administrator gave both");
        assert!(independent(&operator("A", Some("Ada")), &operator("B", Some("Bo"))));
        assert!(independent(&operator("A", Some("Ada")), &lee));
        assert!(!independent(&operator("A", Some("Lee Roe")), &lee), "who gave the password is the other");
    }

    #[test]
    fn a_password_is_long_and_says_nothing_of_its_owner() {
        let check = |password: &str| check_password("opr_cam.doe", password).is_ok();
        assert!(check("correct horse ba") && check("dreizehn äpfel!"));
        assert!(!check("fourteen chars"), "14 characters");
        assert!(!check("aaaaabbbbbcccccddddd"), "four different characters");
        assert!(!check("i am Cam.Doe and nobody else"));
        assert!(!check(&"abcdefgh".repeat(33)), "264 bytes");
    }

    #[test]
    fn no_role_has_a_scope_that_nothing_asks_for() {
        let known: BTreeSet<&str> = super::super::admin::SCOPES.iter().chain(&OPERATOR_SCOPES).copied().collect();
        for role in [Role::Reviewer, Role::Compliance, Role::Auditor, Role::Admin] {
            assert!(role.scopes().iter().all(|scope| known.contains(scope)), "{role:?}");
        }
    }

    #[test]
    fn an_operators_id_is_one_whatever_way_it_is_typed() {
        for typed in ["cam", " Cam ", "opr_cam", "OPR_CAM"] {
            assert_eq!(operator_id(typed), "opr_cam");
        }
    }
}
