#!/usr/bin/env bash
# Fuzzes the readers of policies, packs, cases, directives and facts, and the verifier of tokens, then tells how much of their code was reached.
#   tests/proof/fuzz.sh [SECONDS for each target, default 60]
# Runs on the pinned stable toolchain: coverage feedback is LLVM's own pass, no sanitizer is needed where nothing is unsafe.
# A text that breaks a reader is left in fuzz/found/TARGET; commit it with the repair, the core's tests replay it.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
targets=(policy pack case directive facts token)
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
work=${TMPDIR:-/tmp}/vouchsafe-fuzz
mkdir -p "$work"

guided="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares --cfg=fuzzing -Ccodegen-units=1"
RUSTFLAGS=${guided//$'\n'/ } CARGO_TARGET_DIR=$work/guided \
    cargo build --manifest-path fuzz/Cargo.toml --release --target "$host"

failed=0
for target in "${targets[@]}"; do
    corpus=$work/corpus/$target
    mkdir -p "$corpus" "fuzz/found/$target"
    case $target in
    policy) cp fixtures/policies/* "$corpus" ;;
    pack) cp fixtures/definitions/* "$corpus" ;;
    case) cp fixtures/cases/* "$corpus" ;;
    esac
    cp "fuzz/found/$target"/* "$corpus"
    echo "== $target, $seconds s"
    "$work/guided/$host/release/$target" "$corpus" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=20000 \
        -dict=fuzz/words.dict -artifact_prefix="fuzz/found/$target/" -print_final_stats=1 >"$work/$target.log" 2>&1 || failed=1
    grep -E 'panicked|SUMMARY|stat::number_of_executed_units|DONE' "$work/$target.log" || true
    echo "corpus: $(find "$corpus" -type f | wc -l) texts"
done

profdata=$(command -v "llvm-profdata-$llvm" || true)
cov=$(command -v "llvm-cov-$llvm" || true)
if [ -z "$profdata" ] || [ -z "$cov" ]; then
    echo "no line coverage: this compiler writes the profiles of LLVM $llvm; install llvm-$llvm" >&2
    exit $failed
fi
RUSTFLAGS="-Cinstrument-coverage --cfg=fuzzing" CARGO_TARGET_DIR=$work/coverage \
    cargo build --manifest-path fuzz/Cargo.toml --release --target "$host"
for target in "${targets[@]}"; do
    LLVM_PROFILE_FILE=$work/$target.profraw "$work/coverage/$host/release/$target" "$work/corpus/$target" -runs=0 >/dev/null 2>&1
    "$profdata" merge -sparse "$work/$target.profraw" -o "$work/$target.profdata"
    case $target in
    policy) of=(core/src/policy.rs core/src/document.rs core/src/check) ;;
    pack) of=(core/src/definitions.rs core/src/evidence.rs) ;;
    case) of=(core/src/cases.rs core/src/document.rs) ;;
    directive) of=(core/src/timeline.rs core/src/ids.rs) ;;
    facts) of=(core/src/facts.rs core/src/parties.rs core/src/second.rs) ;;
    token) of=(verify/src/token.rs verify/src/jws.rs verify/src/key.rs verify/src/strict_json.rs verify/src/status_list.rs) ;;
    esac
    echo "== lines reached by the texts of $target"
    "$cov" report "$work/coverage/$host/release/$target" -instr-profile="$work/$target.profdata" "${of[@]}" 2>/dev/null |
        awk '$1 ~ /\.rs$/ { printf "%-24s %s of %s lines, %s\n", $1, $8 - $9, $8, $10 }'
done
exit $failed
