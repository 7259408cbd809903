#!/usr/bin/env bash
# A million random cases against the naive second model, in release mode: some minutes on two cores, half an hour at the very most.
#   tests/proof/reference.sh [CASES [SEED]]        REFERENCE_CASE=N repeats one case of the seed by its number
set -euo pipefail
cd "$(dirname "$0")/../.."
cases=${1:-1000000}
seed=${2:-1721}
test=a_naive_model_agrees_on_a_million_cases
if [ -n "${REFERENCE_CASE:-}" ]; then
    test=a_naive_model_agrees_on_the_first_5000_cases
fi
cargo test --release --locked -p vouchsafe-core --test reference --no-run
REFERENCE_CASES=$cases REFERENCE_SEED=$seed timeout 1800 \
    cargo test --release --locked -p vouchsafe-core --test reference -- --include-ignored --exact --nocapture "$test"
