#!/usr/bin/env bash
# The gateway check beside an empty route of the same framework and a static answer of nginx: three interleaved
# rounds in the same minutes, medians and ratios. Exit code 1 when the check, by token or by asserted caller, is below
# FLOOR (0.4) of the empty route.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
floor=${FLOOR:-0.4}
cd "$root"
. benches/beside.sh
start_empty
check=$url/gateway/check/restricted.api
by_token=(-H "X-Gateway-Key: $(demo gateways edge key)" -H "Authorization: Bearer $token")
by_caller=(-H "X-Gateway-Key: $(demo gateways portal key)" -H "X-Vouchsafe-Caller: api-key:key-permanent_resident")
# A refusal would be measured as gladly.
curl -fs -o /dev/null "${by_token[@]}" "$check"
curl -fs -o /dev/null "${by_caller[@]}" "$check"

for round in $(seq "$rounds"); do
    echo "round $round"
    load empty "$empty_url/"
    load token "$check" "${by_token[@]}"
    load nginx "$nginx_url/"
    load caller "$check" "${by_caller[@]}"
done
awk -v empty="$(median empty)" -v nginx="$(median nginx)" -v token="$(median token)" -v caller="$(median caller)" -v floor="$floor" 'BEGIN {
    printf "medians: empty route %d/s, nginx %d/s, by token %d/s, by caller %d/s\n", empty, nginx, token, caller
    printf "of the empty route: by token %.2f, by caller %.2f; of nginx: %.2f, %.2f\n", token / empty, caller / empty, token / nginx, caller / nginx
    exit token / empty < floor || caller / empty < floor
}'
