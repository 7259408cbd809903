//! Integration tests, one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that fails shall panic where it does, and its harness reads the environment"
)]

mod admissions;
mod api_page;
mod app;
mod appeals;
mod architecture;
mod arrival;
mod authzen;
mod backfill;
mod backup;
mod binary;
mod cases;
mod client_address;
mod conditional;
mod crash;
mod credentials;
mod doctor;
mod edge;
mod end_users;
mod erasure;
mod ext_authz;
mod failover;
mod idempotency;
mod master_keys;
mod oauth;
mod onfido;
mod operators;
#[cfg(feature = "otel")]
mod otel;
mod parties;
mod persons;
mod policy_guide;
mod population;
mod reassess;
mod refusals;
mod register;
mod replay;
mod retention;
mod rosters;
mod rules;
mod scim;
mod security_page;
mod signing;
mod simulation;
mod ssf;
mod sso;
mod status_lists;
mod store_admissions;
mod store_consents;
mod store_contract;
mod store_directories;
mod store_lists;
mod store_outgoing;
mod store_review;
mod store_standings;
mod store_upkeep;
mod stories;
mod streams;
mod stripe;
mod support;
mod suspensions;
mod verify;
mod vouches;
mod webhooks;
