//! Builds the core and its tests, and traces what the compiler complains of back to mutants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::rewrite::{Rewritten, Stretch};

/// A test program.
pub(crate) struct Binary {
    /// The name cargo gives the target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

pub(crate) enum Built {
    Binaries(Vec<Binary>),
    /// The mutants without which it may build, and of each whether its own words are at fault, whatever stands around them.
    Broken(BTreeMap<usize, bool>),
}

/// The switch: `MUTANT` names the mutant that is on; with `REACHED`, a file, each that is asked for is written there once.
const SWITCH: &str = r#"
/// Which mutant is on.
#[doc(hidden)]
pub mod mutation {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    static ON: AtomicUsize = AtomicUsize::new(usize::MAX);
    static REACHED: LazyLock<Option<std::path::PathBuf>> = LazyLock::new(|| std::env::var_os("REACHED").map(Into::into));
    static SEEN: [AtomicBool; 10_000] = [const { AtomicBool::new(false) }; 10_000];

    #[inline]
    pub fn on(mutant: usize) -> bool {
        match ON.load(Ordering::Relaxed) {
            0 => false,
            usize::MAX => first(mutant),
            on => on == mutant,
        }
    }

    #[cold]
    fn first(mutant: usize) -> bool {
        let Some(path) = &*REACHED else {
            ON.store(std::env::var("MUTANT").ok().and_then(|on| on.parse().ok()).unwrap_or(0), Ordering::Relaxed);
            return on(mutant);
        };
        if !SEEN[mutant].swap(true, Ordering::Relaxed) {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(format!("{mutant}\n").as_bytes()).unwrap();
        }
        false
    }
}
"#;

/// Adds the switch to the core.
///
/// # Errors
/// When the file cannot be read or written.
pub(crate) fn add_switch(tree: &Path) -> Result<()> {
    let path = tree.join("core/src/lib.rs");
    let text = std::fs::read_to_string(&path)?;
    if !text.contains(SWITCH) {
        std::fs::write(path, text + SWITCH)?;
    }
    Ok(())
}

/// Builds all tests of the core.
///
/// # Errors
/// When cargo cannot be run, or it complains of something that no mutant explains.
pub(crate) fn build(tree: &Path, files: &BTreeMap<String, Rewritten>) -> Result<Built> {
    let output = Command::new("cargo")
        .args(["test", "--no-run", "--locked", "-p", "vouchsafe-core", "--lib", "--tests", "--message-format=json"])
        // Built once, run thousands of times; overflow is still looked for.
        .args(["--config", "profile.dev.opt-level=3", "--config", "profile.dev.package.vouchsafe-core.opt-level=3"])
        .args(["--config", "profile.dev.codegen-units=16", "--config", "profile.dev.debug=false"])
        .env("RUSTFLAGS", "-Awarnings")
        .current_dir(tree)
        .stderr(Stdio::inherit())
        .output()?;
    let messages: Vec<Value> =
        String::from_utf8(output.stdout)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if output.status.success() {
        return Ok(Built::Binaries(messages.iter().filter_map(binary).collect()));
    }
    let mut broken = BTreeMap::new();
    let errors = messages.iter().filter(|m| m["message"]["level"] == "error");
    for error in
        errors.map(|m| &m["message"]).filter(|error| error["spans"].as_array().is_some_and(|spans| !spans.is_empty()))
    {
        let blamed = blamed(error, files);
        if blamed.is_empty() {
            bail!("no mutant explains this\n{}", error["rendered"].as_str().unwrap_or_default());
        }
        // The switch is no constant: that is not the mutant's fault.
        let constant = error["code"]["code"] == "E0015";
        for place in blamed {
            for id in &place.mutants {
                *broken.entry(*id).or_insert(false) |= place.own && !constant;
            }
        }
    }
    if broken.is_empty() {
        bail!("cargo fails without an error that has a place")
    }
    Ok(Built::Broken(broken))
}

fn binary(message: &Value) -> Option<Binary> {
    let name = message["target"]["name"].as_str()?;
    Some(Binary { name: name.to_owned(), path: message["executable"].as_str()?.into() })
}

/// The narrowest place that holds the whole complaint; where it is about the source in between, that is all around it.
fn blamed<'f>(error: &Value, files: &'f BTreeMap<String, Rewritten>) -> Vec<&'f Stretch> {
    let all = error["spans"].as_array().into_iter().flatten();
    all.filter(|span| span["is_primary"] == true)
        .filter_map(|span| {
            let file = files.get(span["file_name"].as_str()?)?;
            let (start, end) = (number(&span["byte_start"])?, number(&span["byte_end"])?);
            // Not every case covered: an arm with a guard covers none.
            let places = if error["code"]["code"] == "E0004" { &file.matches } else { &file.places };
            let holding = places.iter().filter(|place| place.range.start <= start && end <= place.range.end);
            holding.min_by_key(|place| place.range.len())
        })
        .collect()
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().context("no number").and_then(|n| Ok(usize::try_from(n)?)).ok()
}
