# Sourced by the benches over HTTP: a demo without rate limits beside an empty route and a static answer of nginx, each on
# core 0; the generator on core 1. Needs wrk, nginx, curl, python3 and two cores. ROUNDS, SECONDS_EACH and CONNECTIONS change
# the load.
rounds=${ROUNDS:-3} each=${SECONDS_EACH:-4} connections=${CONNECTIONS:-32}
needs="wrk nginx taskset"
[ -n "${VOUCHSAFE_BIN:-}" ] || cargo build --release --quiet
VOUCHSAFE_BIN=${VOUCHSAFE_BIN:-${CARGO_TARGET_DIR:-$root/target}/release/vouchsafe}
. tests/demo.sh

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
demo_options=--unlimited start_demo taskset -c 0
wait_for 30 curl -fs "$nginx_url/"
onboarding=$(access_token onboarding)
token=$(eligibility_token permanent_resident restricted.api)

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
