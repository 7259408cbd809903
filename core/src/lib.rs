//! The pure core of Vouchsafe: evidence in, eligibility out.
//!
//! No clock, no network, no randomness, no storage: the same [`decide`] serves gateways, simulation, replay and the
//! offline verifier. Two errors have two rules: missing, late or unreadable evidence never makes a positive
//! answer, and strong support never outvotes material evidence to the contrary.
//!
//! # Glossary
//!
//! - **Subject**: a person, organisation or workload that a question is about ([`ids::SubjectId`]).
//! - **Source**: a party whose statements are accepted: document vendor, employer, registry, network database, reviewer, the subject itself.
//! - **Attestation**: one authenticated statement of one source about one subject at one time; immutable ([`facts::Attestation`]).
//! - **Facts**: an attestation's content without direct identifiers ([`facts::Facts`]).
//! - **Frame**: a question. A *state frame* has mutually exclusive states; a *membership frame* is one yes/no question per key.
//! - **Definition pack**: versioned data saying which facts prove which states ([`definitions::Pack`]).
//! - **Evidence**: what facts say about one frame under a pack ([`evidence::Evidence`]).
//! - **Criterion**: a frame, what the policy allows in it, thresholds ([`policy::Criterion`]).
//! - **Policy**: criteria that must all hold for its resources, exemptions, lifetimes, citations ([`policy::Policy`]).
//! - **Directive**: an order as data, a set of actions on the timeline of resources ([`timeline`]).
//! - **Rules**: everything in force for one resource at one instant; has a digest ([`rules::Rules`]).
//! - **Decision**: status, confidence, expiry and reasons for (subject, resource, instant) ([`decision::Decision`]).

pub mod cases;
pub mod check;
pub mod compare;
pub mod criterion;
pub mod decision;
pub mod definitions;
pub mod document;
pub mod end_users;
pub mod evidence;
pub mod explain;
pub mod facts;
pub mod fusion;
pub mod hindsight;
pub mod ids;
pub mod parties;
pub mod policy;
pub mod receipt;
pub mod rules;
pub mod second;
pub mod shares;
pub mod timeline;
pub mod words;

pub use decision::{Decision, check_live, decide};
pub use fusion::Status;
pub use second::Second;
