# Sourced by the benches over HTTP: a demo without rate limits beside an empty route and a static answer of nginx, each on
# core 0; the generator on core 1. Needs wrk, nginx, curl, python3 and two cores. ROUNDS, SECONDS_EACH and CONNECTIONS change
# the load.
rounds=${ROUNDS:-3} each=${SECONDS_EACH:-4} connections=${CONNECTIONS:-32}
for tool in wrk nginx curl python3 taskset; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
service=${VOUCHSAFE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/vouchsafe}
[ -n "${VOUCHSAFE_BIN:-}" ] || cargo build --release --quiet

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
TMPDIR=$work taskset -c 0 "$service" demo --listen 127.0.0.1:0 --unlimited --json >"$work/demo.json" 2>"$work/demo.log" &
pids+=($!)
wait_for test -s "$work/demo.json"
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[name]
print(value)' "$@"; }
demo() { member "$@" <"$work/demo.json"; }
url=$(demo url)
wait_for curl -fs "$nginx_url/"
access=$(curl -fs "$url/oauth2/token" -u "$(demo clients onboarding client_id):$(demo clients onboarding client_secret)" \
    -d grant_type=client_credentials | member access_token)
token=$(curl -fs "$url/v1/subjects/$(demo subjects permanent_resident id)/tokens" -H "Authorization: Bearer $access" \
    -H 'Content-Type: application/json' -d '{"resource":"restricted.api","audience":"edge"}' | member token)

load() { # NAME URL, then arguments of wrk
    local name=$1 target=$2 out
    shift 2
    out=$(taskset -c 1 wrk -t1 -c"$connections" -d"${each}s" --latency "$@" "$target")
    if grep -q 'Non-2xx' <<<"$out"; then echo "$name: not every answer was 200" >&2; exit 1; fi
    awk '/Requests\/sec/ {print $2}' <<<"$out" >>"$work/$name"
    awk '/^ +99%/ {t = $2; f = t ~ /us$/ ? 0.001 : t ~ /ms$/ ? 1 : 1000; sub(/[a-z]+$/, "", t); print t * f}' <<<"$out" >>"$work/$name.p99"
    echo "  $name $(awk '/Requests\/sec/ {print $2} /^ +99%/ {print "p99", $2}' <<<"$out" | tac | tr '\n' ' ')"
}
median() { sort -n "$work/$1" | sed -n "$(((rounds + 1) / 2))p"; }
