//! A status list built, compressed and signed for a million tokens of which one in a hundred is revoked, beside the bare
//! steps: the same bytes through `flate2`, and one bare signature.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};
use vouchsafe::token::keys::{Algorithm, Purpose, SigningKey};
use vouchsafe::token::status_list::{Bits, ENTRIES, Status, TYPE, claims};

const TOKENS: usize = 1_000_000;
const ROUNDS: usize = 21;

fn timed<T>(once: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    let _ = black_box(once());
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64) * 1000.0
}

/// Every hundredth on the average, from a fixed seed (xorshift64).
fn revoked() -> Vec<usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..TOKENS).filter(|_| draw() % 100 == 0).collect()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (key, _) = SigningKey::generate(Algorithm::Es256, Purpose::StatusList)?;
    let revoked = revoked();
    let built = |indices: &[usize]| {
        let mut bits = Bits::new(ENTRIES);
        indices.iter().for_each(|index| bits.set(*index, Status::Invalid));
        bits
    };
    let sign = |bits: &Bits| -> Result<String, Box<dyn std::error::Error>> {
        Ok(key.sign_text(
            TYPE,
            &claims("https://eligibility.example/status-lists/1", 1_800_000_000, None, &bits.encoded()?),
        )?)
    };
    let bits = built(&revoked);
    let mut raw = vec![0_u8; ENTRIES / 4];
    for index in &revoked {
        if let Some(byte) = raw.get_mut(index / 4) {
            *byte |= 1 << (index % 4 * 2);
        }
    }
    let deflate = |level: u32| {
        let mut stream = ZlibEncoder::new(Vec::with_capacity(64 * 1024), Compression::new(level));
        stream.write_all(&raw).and_then(|()| stream.finish())
    };
    let signed = sign(&bits)?;
    let (mut whole, mut changed, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    // Interleaved: the machine's other work hits all.
    for round in 0..ROUNDS {
        whole.push(timed(|| sign(&built(&revoked)).map(|token| token.len())));
        let mut next = bits.clone();
        next.set(round, Status::Suspended);
        changed.push(timed(|| sign(&next).map(|token| token.len())));
        bare.push(timed(|| deflate(4).map(|stream| stream.len())) + timed(|| key.sign_text(TYPE, "{}")));
    }
    let (whole, changed, bare) = (median(whole), median(changed), median(bare));
    println!("{} revoked of {TOKENS}, {} bytes signed", revoked.len(), signed.len());
    println!(
        "built, compressed, signed {whole:.2} ms; after one change {changed:.2} ms; bare zlib and signature {bare:.2} ms, ratio {:.2}",
        changed / bare
    );
    for level in [1, 4, 6, 9] {
        let times = (0..ROUNDS).map(|_| timed(|| deflate(level).map(|stream| stream.len()))).collect();
        println!("zlib level {level}: {:.2} ms, {} bytes", median(times), deflate(level)?.len());
    }
    Ok(())
}
