//! Texts that once broke the verifier, and seeds: the fuzz target's own function is called with each.
//! A crash that `tests/proof/fuzz.sh` finds is added to `fuzz/found/token`.

#[path = "../../fuzz/src/tokens.rs"]
#[expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what cannot happen there is what is looked for"
)]
mod tokens;

#[test]
fn the_verifier_stands_what_broke_it() {
    let mut seen = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/found/token")).unwrap() {
        tokens::any(&std::fs::read(entry.unwrap().path()).unwrap());
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
}
