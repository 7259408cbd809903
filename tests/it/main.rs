//! Integration tests, one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that fails shall panic where it does, and its harness reads the environment"
)]

mod api_page;
mod app;
mod architecture;
mod arrival;
mod binary;
mod conditional;
mod crash;
mod edge;
mod idempotency;
mod onfido;
mod persons;
mod store_contract;
mod stories;
mod stripe;
mod support;
mod vouches;
