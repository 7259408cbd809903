# Sourced by the benches over HTTP: a demo without rate limits beside an empty route, a static answer of nginx, and other
# programs, each on core 0; the generator on core 1. Needs wrk, nginx, curl, python3 and two cores. ROUNDS, SECONDS_EACH and
# CONNECTIONS change the load; VOUCHSAFE_BIN and EMPTY_BIN name built binaries.
# PEERS names a folder with other programs; without it none stands beside. In it
#   root  glewlwyd and what it needs, unpacked (apt-get download, dpkg -x)
#   node  npm i oidc-provider@9.13.3 cerbos@0.51.0
#   ca    cargo install --locked --root "$PEERS/ca" cedar-agent
#   h2    nghttp2-client, unpacked, where h2load is not installed
rounds=${ROUNDS:-3} each=${SECONDS_EACH:-4} connections=${CONNECTIONS:-32}
needs="wrk nginx taskset"
[ -n "${VOUCHSAFE_BIN:-}" ] || cargo build --release --quiet
VOUCHSAFE_BIN=${VOUCHSAFE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/vouchsafe}
. tests/demo.sh

nginx_url=http://127.0.0.1:$(free_port) nginx_h2_url=http://127.0.0.1:$(free_port)
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
    # With a body: nginx takes a connection of HTTP/2 on which hardly anything is said for an attack.
    server { listen ${nginx_h2_url#http://} http2; location / { return 200 "$(printf '%0256d' 0)"; } }
}
E2
taskset -c 0 nginx -p "$work" -c "$work/nginx.conf" -e "$work/nginx.log" 2>>"$work/nginx.log" &
pids+=($!)
demo_options=--unlimited start_demo taskset -c 0
wait_for 30 curl -fs "$nginx_url/"
onboarding=$(access_token onboarding)
token=$(eligibility_token permanent_resident restricted.api)

built_bench() { cargo bench --bench "$1" --no-run 2>&1 | sed -n 's|.*Executable.*(\(.*\))$|\1|p'; }
# The empty route: `$empty_url`.
start_empty() {
    local empty=${EMPTY_BIN:-}
    [ -n "$empty" ] || empty=$(built_bench empty_route)
    empty_url=http://127.0.0.1:$(free_port)
    taskset -c 0 "$empty" "${empty_url#http://}" &
    pids+=($!)
    wait_for 30 curl -fs "$empty_url/"
}
cat >"$work/post.lua" <<'E2'
wrk.method, wrk.body = "POST", os.getenv("BODY")
wrk.headers["Content-Type"] = os.getenv("KIND") or "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = os.getenv("AUTH")
E2
post() { # NAME URL, then arguments of wrk; the body and two headers from BODY, KIND and AUTH
    load "$1" "$2" -s "$work/post.lua" "${@:3}"
}
load() { # NAME URL, then arguments of wrk
    local name=$1 target=$2 out
    shift 2
    out=$(taskset -c 1 wrk -t1 -c"$connections" -d"${each}s" --latency "$@" "$target")
    if grep -q 'Non-2xx' <<<"$out"; then echo "$name: not every answer was 200" >&2; exit 1; fi
    awk '/Requests\/sec/ {print $2}' <<<"$out" >>"$work/$name"
    awk '/^ +99%/ {t = $2; f = t ~ /us$/ ? 0.001 : t ~ /ms$/ ? 1 : 1000; sub(/[a-z]+$/, "", t); print t * f}' <<<"$out" >>"$work/$name.p99"
    echo "  $name $(awk '/Requests\/sec/ {print $2} /^ +99%/ {print "p99", $2}' <<<"$out" | tac | tr '\n' ' ')"
}
# HTTP/2 without TLS, which wrk does not speak: h2load, with a body from a file.
h2load() {
    if type -P h2load >/dev/null; then command h2load "$@"; return; fi
    LD_LIBRARY_PATH=$PEERS/h2/usr/lib/x86_64-linux-gnu "$PEERS/h2/usr/bin/h2load" "$@"
}
load_h2() { # NAME URL CONNECTIONS STREAMS, then arguments of h2load
    local name=$1 target=$2 out
    out=$(h2load -t1 -c"$3" -m"$4" -D"$each" "${@:5}" "$target")
    awk '/^requests:/ {failed = $10 + $12} /^status codes:/ {other = $5 + $7 + $9} END {exit !NR || failed + other > 0}' <<<"$out" ||
        { echo "$name: not every answer was 200" >&2; echo "$out" >&2; exit 1; }
    awk '/^finished in/ {print $4}' <<<"$out" >>"$work/$name"
    echo "  $name $(awk '/^finished in/ {print $4}' <<<"$out")"
}
# A client that may ask by AuthZEN: prints its access token.
authzen_client() {
    local pair
    pair=$(curl -fs "$url/v1/clients" -H "Authorization: Bearer $(access_token administrator)" -H 'Content-Type: application/json' \
        -d '{"name":"asks","owner":"Pia","scopes":["access:evaluate"]}' |
        python3 -c 'import json, sys; made = json.load(sys.stdin); print(made["client_id"] + ":" + made["client_secret"])')
    curl -fs "$url/oauth2/token" -u "$pair" -d grant_type=client_credentials | member access_token
}
# What Envoy sends by gRPC of a request with `$token`: its headers and pseudo headers, its own view of the peer, and the
# resource of the route; into FILE.
grpc_question() { # FILE
    python3 - "$token" "$1" <<'E2'
import struct, sys
token, out = sys.argv[1:]
def number(value):
    parts = bytearray()
    while True:
        value, low = value >> 7, value & 0x7f
        parts.append(low | (0x80 if value else 0))
        if not value: return bytes(parts)
def field(tag, value):
    value = value if isinstance(value, bytes) else value.encode()
    return number(tag << 3 | 2) + number(len(value)) + value
def pairs(tag, items): return b"".join(field(tag, field(1, name) + field(2, value)) for name, value in items.items())
headers = {":method": "GET", ":path": "/x", ":authority": "api.example", ":scheme": "https", "user-agent": "curl/8.5.0",
           "accept": "*/*", "x-request-id": "9a3f2a3e-5f53-4a4e-9a53-4c9a6f0f4b51", "authorization": f"Bearer {token}"}
http = field(2, "GET") + pairs(3, headers) + field(4, "/x")
source = field(1, field(1, field(2, "127.0.0.1")))
question = field(1, field(1, source) + field(4, field(2, http)) + pairs(10, {"resource": "restricted.api"}))
open(out, "wb").write(b"\0" + struct.pack(">I", len(question)) + question)
E2
}
# Admissions so far, or with any argument all other answers to gateways.
counted() {
    curl -fs "$(demo admin_url)/metrics" | awk -v admitted="${1:-yes}" '/^vouchsafe_gateway_checks_total/ {
        if (/"admit"/ == (admitted == "yes")) sum += $2 } END { print sum + 0 }'
}
median() { sort -n "$work/$1" | sed -n "$(((rounds + 1) / 2))p"; }
ratio() { # OURS OTHER [TARGET, below which the script fails]
    awk -v ours="$(median "$1")" -v other="$(median "$2")" -v name="$1 / $2" -v target="${3:-}" 'BEGIN {
        printf "%-32s %8d/s %8d/s  %6.2f%s\n", name, ours, other, ours / other, target == "" ? "" : " (target " target ")"
        exit target != "" && ours / other < target
    }' || failed=1
}
