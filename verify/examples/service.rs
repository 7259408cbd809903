//! A service that guards itself: `GET /` answers only to those whom Vouchsafe let in.
//!
//! `cargo run -p vouchsafe-verify --features tower --example service -- ISSUER AUDIENCE RESOURCE`, for example against
//! a `vouchsafe demo` on this machine: `http://127.0.0.1:8080 edge restricted.api`. It prints where it listens. A fourth
//! word, `without-status`, also admits tokens that name no status list: nothing would withdraw them here.

use axum::routing::get;
use axum::{Extension, Router};
use std::io::Write as _;
use std::sync::Arc;
use vouchsafe_verify::fetch::Reach;
use vouchsafe_verify::gate::{Admission, Eligible, Gate, GateLayer, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(issuer), Some(audience), Some(resource)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("say ISSUER AUDIENCE RESOURCE".into());
    };
    let mut settings = Settings::new(&issuer, &audience, &resource);
    // Only for an issuer on this machine; http is allowed there and nowhere else.
    settings.reach = if issuer.starts_with("http://") { Reach::Loopback } else { Reach::Public };
    settings.admit_without_status = arguments.next().as_deref() == Some("without-status");
    let report = |admissions: Vec<Admission>| {
        for row in admissions {
            let _ = writeln!(
                std::io::stderr(),
                "{} times {} to {} by {}",
                row.count,
                row.subject,
                row.resource,
                row.decision
            );
        }
    };
    let gate = Arc::new(Gate::new(settings, Arc::new(report))?);
    tokio::spawn(Arc::clone(&gate).run());
    let hello = async |Extension(eligible): Extension<Eligible>| format!("hello {}\n", eligible.subject);
    let router = Router::new().route("/", get(hello)).layer(GateLayer::new(Arc::clone(&gate)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    axum::serve(listener, router).await?;
    gate.report_now();
    Ok(())
}
