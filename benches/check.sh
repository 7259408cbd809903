#!/usr/bin/env bash
# The gateway check beside an empty route of the same framework and a static answer of nginx: three interleaved
# rounds in the same minutes, medians and ratios. Server on core 0, generator on core 1. Exit code 1 when the check,
# by token or by asserted caller, is below FLOOR (0.4) of the empty route.
# Needs wrk, nginx, curl, python3 and two cores. ROUNDS, SECONDS_EACH and CONNECTIONS change the load.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
rounds=${ROUNDS:-3} each=${SECONDS_EACH:-4} connections=${CONNECTIONS:-32} floor=${FLOOR:-0.4}
for tool in wrk nginx curl python3 taskset; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
cd "$root"
cargo build --release --quiet
empty=$(cargo bench --bench empty_route --no-run 2>&1 | sed -n 's|.*Executable.*(\(.*\))$|\1|p')
service=${VOUCHSAFE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/vouchsafe}

work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
free_port() { python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() { for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "gave up: $*" >&2; exit 1; }

empty_url=http://127.0.0.1:$(free_port)
taskset -c 0 "$empty" "${empty_url#http://}" &
pids+=($!)
nginx_url=http://127.0.0.1:$(free_port)
cat >"$work/nginx.conf" <<E2
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log warn;
events { worker_connections 512; }
http {
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    server { listen ${nginx_url#http://}; location / { return 200; } }
}
E2
taskset -c 0 nginx -p "$work" -c "$work/nginx.conf" -e "$work/nginx.log" 2>>"$work/nginx.log" &
pids+=($!)
TMPDIR=$work taskset -c 0 "$service" demo --listen 127.0.0.1:0 --json >"$work/demo.json" 2>"$work/demo.log" &
pids+=($!)
wait_for test -s "$work/demo.json"
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[name]
print(value)' "$@"; }
demo() { member "$@" <"$work/demo.json"; }
url=$(demo url)
access=$(curl -fs "$url/oauth2/token" -u "$(demo clients onboarding client_id):$(demo clients onboarding client_secret)" \
    -d grant_type=client_credentials | member access_token)
token=$(curl -fs "$url/v1/subjects/$(demo subjects permanent_resident id)/tokens" -H "Authorization: Bearer $access" \
    -H 'Content-Type: application/json' -d '{"resource":"restricted.api","audience":"edge"}' | member token)
check=$url/gateway/check/restricted.api
by_token=(-H "X-Gateway-Key: $(demo gateways edge key)" -H "Authorization: Bearer $token")
by_caller=(-H "X-Gateway-Key: $(demo gateways portal key)" -H "X-Vouchsafe-Caller: api-key:key-permanent_resident")
wait_for curl -fs "$empty_url/"
wait_for curl -fs "$nginx_url/"
# A refusal would be measured as gladly.
curl -fs -o /dev/null "${by_token[@]}" "$check"
curl -fs -o /dev/null "${by_caller[@]}" "$check"

load() { # NAME URL HEADERS…
    local name=$1 target=$2 out
    shift 2
    out=$(taskset -c 1 wrk -t1 -c"$connections" -d"${each}s" --latency "$@" "$target")
    if grep -q 'Non-2xx' <<<"$out"; then echo "$name: not every answer was 200" >&2; exit 1; fi
    awk '/Requests\/sec/ {print $2}' <<<"$out" >>"$work/$name"
    echo "  $name $(awk '/Requests\/sec/ {print $2} /99%/ {print "p99", $2}' <<<"$out" | tac | tr '\n' ' ')"
}
for round in $(seq "$rounds"); do
    echo "round $round"
    load empty "$empty_url/"
    load token "$check" "${by_token[@]}"
    load nginx "$nginx_url/"
    load caller "$check" "${by_caller[@]}"
done
median() { sort -n "$work/$1" | sed -n "$(((rounds + 1) / 2))p"; }
awk -v empty="$(median empty)" -v nginx="$(median nginx)" -v token="$(median token)" -v caller="$(median caller)" -v floor="$floor" 'BEGIN {
    printf "medians: empty route %d/s, nginx %d/s, by token %d/s, by caller %d/s\n", empty, nginx, token, caller
    printf "of the empty route: by token %.2f, by caller %.2f; of nginx: %.2f, %.2f\n", token / empty, caller / empty, token / nginx, caller / nginx
    exit token / empty < floor || caller / empty < floor
}'
