#!/usr/bin/env bash
# Mutation tests of the core: every operator and function changed, as cargo-mutants lists them, and some test must notice.
#   tests/proof/mutants.sh                 JOBS=2 tests at a time
# All mutants that can stand beside one another are built into one program, each behind a switch (tests/proof/mutants/), so that one
# build serves them all; each is tried against the tests that reach it, the quick ones first, until one fails. The rest goes through
# cargo-mutants one by one. A run that was stopped goes on where it stood; what was caught is tried again only when its file changed.
# `cargo install cargo-mutants --locked` first.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v cargo-mutants >/dev/null || { echo "cargo-mutants is missing: cargo install cargo-mutants --locked" >&2; exit 2; }
work=${TMPDIR:-/tmp}/vouchsafe-mutants
out=$work/out
mkdir -p "$out"
cargo build -q --release --locked --manifest-path tests/proof/mutants/Cargo.toml --target-dir "$work/tool"

copy() { # DIRECTORY: the sources as new, its build directory kept
    mkdir -p "$1"
    rm -rf "$1/core" "$1/fixtures" "$1/fuzz" "$1/src" "$1/verify" "$1/.cargo"
    git ls-files --cached --others --exclude-standard core fixtures fuzz src verify benches tests/it/main.rs .cargo Cargo.toml Cargo.lock rust-toolchain.toml |
        tar -cf - -T - | tar -xmf - -C "$1"
}

copy "$work/tree"
(cd "$work/tree" && cargo mutants -p vouchsafe-core --list --json) >"$work/list.json"
# A mutant may ask for memory without end. A fifth of the second model's cases is enough to tell.
(
    ulimit -v 8000000
    REFERENCE_CASES=${REFERENCE_CASES:-4000} nice "$work/tool/release/vouchsafe-mutants" "$work/tree" "$work/list.json" "$out"
)

# One by one what has no place in the one program.
copy "$work/plain"
only=()
while read -r name; do
    # What comes after the place may hold anything that a regular expression takes for its own.
    only+=(-F "^$(printf '%s' "$name" | sed 's/[][\\.^$*+?(){}|]/\\&/g')\$")
done <"$out/left.txt"
# cargo-mutants takes every field into its choice, whatever is asked for.
grep -q 'delete field' "$out/left.txt" || only+=(-E 'delete field')
if [ -s "$out/left.txt" ]; then
    (cd "$work/plain" && nice cargo mutants -p vouchsafe-core --in-place --baseline skip --no-shuffle --timeout 120 --build-timeout 600 \
        --colors never -o "$out" -C=--lib -C=--test=edges -C=--test=cases -C=--test=parties -C=--test=words -C=--test=properties -C=--test=tables \
        "${only[@]}") >"$out/plain.log" 2>&1 || true
fi

for outcome in caught missed timeout unviable; do
    if [ -s "$out/mutants.out/$outcome.txt" ]; then sed "s/^/$outcome\t/" "$out/mutants.out/$outcome.txt"; fi
done | cat "$out/result.tsv" - >"$out/all.tsv"
awk -F '\t' '
    { split($2, place, ":"); file = place[1]; sub("core/src/", "", file); n[file, $1]++; n["total", $1]++; files[file] }
    function row(file) {
        viable = n[file, "caught"] + n[file, "timeout"] + n[file, "missed"]
        printf "%-24s %7d %7d %7d %7d %8d %6.1f %%\n", file, viable + n[file, "unviable"], n[file, "caught"], n[file, "timeout"],
            n[file, "missed"], n[file, "unviable"], viable ? 100 * (n[file, "caught"] + n[file, "timeout"]) / viable : 100
    }
    BEGIN { printf "%-24s %7s %7s %7s %7s %8s %8s\n", "file", "mutants", "caught", "timeout", "missed", "unviable", "noticed" }
    END { for (file in files) row(file) | "sort"; close("sort"); row("total") }
' "$out/all.tsv"
grep '^missed' "$out/all.tsv" | cut -f2 || true
