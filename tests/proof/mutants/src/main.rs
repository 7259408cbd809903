//! Builds every mutant of the core into one program, each behind a switch, and tries each against the tests that reach it.
//!
//! `vouchsafe-mutants TREE LIST OUT`: TREE is a copy of the repository that may be rewritten, LIST what `cargo mutants --list
//! --json` says of it, OUT a directory that keeps what was found. Written there: `outcomes.tsv` (outcome, file's digest, mutant, by
//! what), `result.tsv` when all are tried, `open.txt`, what no test has noticed so far, `unviable.txt`, what the compiler refuses, and
//! `left.txt`, the mutants that cannot stand beside the others in one program: those are for cargo-mutants itself.

mod build;
mod outcomes;
mod rewrite;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A mutant as cargo-mutants lists it; its switch is its place in the list, counted from one.
#[derive(Debug, Clone, Deserialize)]
struct Mutant {
    name: String,
    file: String,
    genre: String,
    replacement: String,
    span: Span,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

/// Both counted from one, the column in characters.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

fn main() -> Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [tree, list, out] = args.as_slice() else { bail!("usage: vouchsafe-mutants TREE LIST OUT") };
    std::fs::create_dir_all(out)?;
    let (tree, out) = (tree.canonicalize()?, out.canonicalize()?);
    let mutants: Vec<Mutant> = serde_json::from_slice(&std::fs::read(list)?).context("the list of mutants")?;
    let sources = sources(&tree, &mutants)?;

    // What did not fit beside the others yesterday does not today, and each failed build takes a while.
    let earlier = Unfit::read(&out, &mutants)?;
    let (binaries, unfit) = build_without_what_breaks(&tree, &mutants, &sources, earlier)?;
    unfit.write(&out, &mutants)?;
    let apart = unfit.all();
    println!(
        "{} mutants in one program, {} unviable, {} left",
        mutants.len() - apart.len(),
        unfit.unviable.len(),
        unfit.left.len()
    );

    let tests = run::measured(&tree, &binaries, mutants.len())?;
    let mut kept = outcomes::Outcomes::read(&out.join("outcomes.tsv"), &mutants, &sources)?;
    run::all(&tree, &tests, &apart, &mut kept)?;
    kept.sum_up(&unfit.unviable)
}

/// Mutants that are not in the one program.
#[derive(Default)]
struct Unfit {
    /// The compiler refuses what they say, wherever they stand.
    unviable: BTreeSet<usize>,
    /// There is no form for them beside the others.
    left: BTreeSet<usize>,
}

impl Unfit {
    fn read(out: &Path, mutants: &[Mutant]) -> Result<Self> {
        let read = |name: &str| -> Result<BTreeSet<usize>> {
            let path = out.join(name);
            let text = if path.exists() { std::fs::read_to_string(path)? } else { String::new() };
            let names: BTreeSet<&str> = text.lines().collect();
            Ok((1..).zip(mutants).filter(|(_, m)| names.contains(m.name.as_str())).map(|(id, _)| id).collect())
        };
        Ok(Self { unviable: read("unviable.txt")?, left: read("left.txt")? })
    }

    fn write(&self, out: &Path, mutants: &[Mutant]) -> Result<()> {
        std::fs::write(out.join("unviable.txt"), names(mutants, &self.unviable))?;
        Ok(std::fs::write(out.join("left.txt"), names(mutants, &self.left))?)
    }

    fn all(&self) -> BTreeSet<usize> {
        self.unviable.union(&self.left).copied().collect()
    }
}

/// Their names, one a line.
fn names<'i>(mutants: &[Mutant], ids: impl IntoIterator<Item = &'i usize>) -> String {
    ids.into_iter().map(|id| format!("{}\n", mutants[id - 1].name)).collect()
}

/// The text of every mutated file, as it stands before any switch is put in.
fn sources(tree: &Path, mutants: &[Mutant]) -> Result<BTreeMap<String, String>> {
    let files: BTreeSet<&String> = mutants.iter().map(|m| &m.file).collect();
    files
        .into_iter()
        .map(|file| Ok((file.clone(), std::fs::read_to_string(tree.join(file)).with_context(|| file.clone())?)))
        .collect()
}

/// Builds again and again without the mutants that the compiler complains of, until it has no complaint.
fn build_without_what_breaks(
    tree: &Path,
    mutants: &[Mutant],
    sources: &BTreeMap<String, String>,
    mut unfit: Unfit,
) -> Result<(Vec<build::Binary>, Unfit)> {
    loop {
        let apart = unfit.all();
        let mut files = BTreeMap::new();
        for (file, text) in sources {
            let own = (1..).zip(mutants).filter(|(id, m)| &m.file == file && !apart.contains(id));
            let rewritten = rewrite::rewrite(text, own).with_context(|| file.clone())?;
            unfit.left.extend(&rewritten.left);
            std::fs::write(tree.join(file), &rewritten.text)?;
            files.insert(file.clone(), rewritten);
        }
        build::add_switch(tree)?;
        match build::build(tree, &files)? {
            build::Built::Binaries(binaries) => return Ok((binaries, unfit)),
            build::Built::Broken(broken) => {
                println!("{} mutants break the build of all", broken.len());
                for (id, own) in broken {
                    if own { &mut unfit.unviable } else { &mut unfit.left }.insert(id);
                }
            }
        }
    }
}
