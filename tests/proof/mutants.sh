#!/usr/bin/env bash
# Mutation tests of the core with cargo-mutants, file by file: every operator and function changed, and some test must notice.
#   tests/proof/mutants.sh [NAME…]        files of core/src without `.rs`, for example `fusion criterion`; default all
# What the quick tests let pass is tried against the slower ones. Some seconds each for some 1,000 mutants: hours on two cores;
# a run that was stopped goes on where it stood. `cargo install cargo-mutants --locked` first.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v cargo-mutants >/dev/null || { echo "cargo-mutants is missing: cargo install cargo-mutants --locked" >&2; exit 2; }
work=${TMPDIR:-/tmp}/vouchsafe-mutants
tree=$work/tree
mkdir -p "$tree"
# Mutated in a copy, whose build directory is kept.
rm -rf "$tree/core" "$tree/fixtures" "$tree/fuzz" "$tree/src" "$tree/verify" "$tree/.cargo"
git ls-files --cached --others --exclude-standard core fixtures fuzz src verify benches .cargo Cargo.toml Cargo.lock rust-toolchain.toml |
    tar -cf - -T - | tar -xmf - -C "$tree"
files=("$@")
if [ ${#files[@]} = 0 ]; then
    mapfile -t files < <(cd core/src && find . -name '*.rs' | sed 's|^\./||; s|\.rs$||' | sort)
fi
cd "$tree"

stage() { # FILE, then for cargo: test binaries; FILTER in $only
    local file=$1 tests=()
    shift
    for test in "$@"; do tests+=("-C=$test"); done
    nice cargo mutants -p vouchsafe-core --in-place --iterate --baseline skip --no-shuffle --timeout 90 --build-timeout 600 \
        --colors never -o "$work/$file" -f "core/src/$file.rs" "${tests[@]}" -- ${only:-} >>"$work/$file/log" 2>&1 || true
}

printf '%-24s %8s %8s %8s %8s\n' file mutants caught missed timeout
for file in "${files[@]}"; do
    mkdir -p "$work/$file"
    only='' stage "$file" --lib --test cases --test fusion_vectors --test readers
    only='-- first_5000' REFERENCE_CASES=12000 stage "$file" --test reference
    only='' stage "$file" --test properties --test parties --test fixtures
    out=$work/$file/mutants.out
    # Caught ones of earlier stages are kept by cargo-mutants as previously caught.
    caught=$(cat "$out/caught.txt" "$out/previously_caught.txt" 2>/dev/null | sort -u | wc -l)
    missed=$(wc -l <"$out/missed.txt")
    timeout=$(wc -l <"$out/timeout.txt")
    printf '%-24s %8s %8s %8s %8s\n' "$file" $((caught + missed + timeout)) "$caught" "$missed" "$timeout"
    sed 's/^/    /' "$out/missed.txt"
done
