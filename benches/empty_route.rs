//! The floor under our HTTP edge: one route of the same framework, runtime and allocator that does nothing.
//! `empty_route ADDRESS` serves until it is killed; without an address it does nothing, so that `cargo bench` ends.

use axum::Router;
use axum::routing::get;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> std::io::Result<()> {
    let Some(address) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let routes = Router::new().route("/", get(|| async {}));
        // In a task, as the service has it: the thread that blocks here runs nothing.
        tokio::spawn(async move { axum::serve(listener, routes).await }).await?
    })
}
