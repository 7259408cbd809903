//! Integration tests, one binary.

mod app;
mod architecture;
mod binary;
mod edge;
mod store_contract;
mod stories;
mod support;
mod vouches;
