//! Signatures per second through `SigningKey::sign`, beside the bare primitive on text of the same length.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};
use std::hint::black_box;
use std::time::{Duration, Instant};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};

const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_secs(1);

fn per_second<T>(mut once: impl FnMut() -> T) -> f64 {
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP {
        let _ = black_box(once());
    }
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < MEASURED {
        let _ = black_box(once());
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// Claims as `issue` makes them.
fn claims() -> Value {
    json!({
        "iss": "https://eligibility.example", "aud": "edge", "sub": "AXl0c1ZQd0p3c2Z0Y2l2dWxybWc4YmVxdG9yN2Q5eTNhMHV4",
        "client_id": "cli_0192f0a1b2c3d4e5f60718293a4b5c6d", "iat": 1_800_000_000, "exp": 1_800_000_900,
        "jti": "jti_0192f0a1b2c3d4e5f60718293a4b5c6d",
        "eligibility": { "resource": "restricted.api", "decision": "dec_0192f0a1b2c3d4e5f60718293a4b5c6d",
            "valid_until": 1_800_086_400, "live": [] },
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (key, pkcs8) = SigningKey::generate(Algorithm::Es256, Purpose::Eligibility)?;
    let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)?;
    let random = SystemRandom::new();
    let claims = claims();
    let token = key.sign("eligibility+jwt", &claims)?;
    let signed = token.rsplit_once('.').map_or(token.as_str(), |(signed, _)| signed).as_bytes();
    // Interleaved: the machine's other work hits both.
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        ours.push(per_second(|| key.sign("eligibility+jwt", &claims)));
        bare.push(per_second(|| raw.sign(&random, signed)));
    }
    let (ours, bare) = (median(ours), median(bare));
    println!("ES256: SigningKey::sign {ours:.0}/s, bare {bare:.0}/s, ratio {:.2}", ours / bare);
    Ok(())
}
