#!/usr/bin/env bash
# Messages through the whole sender to receivers of whom three in ten requests fail: none lost, each subject's in order.
#   webhooks.sh [sqlite|postgres]
# EVENTS (100000) for each of ENDPOINTS (3); PROFILE (dev) names the build. Prints deliveries a second, processor time
# (receivers included: they run in the same process), and distinct ids by endpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export DATABASE=${1:-sqlite}
cargo test --locked --profile "${PROFILE:-dev}" --test it -- --ignored --nocapture --exact webhooks::drain::long_drain
