#!/usr/bin/env bash
# nginx asks a gate of one's own (verify/examples/service.rs) by auth_request, as docs/verify.md has it: tokens of the
# demo are judged without a question to the service, and go on being judged when the service is gone.
# Needs nginx (with auth_request), curl and python3; VOUCHSAFE_BIN and GATE_BIN name built binaries, else they are built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
needs=nginx
. "$root/tests/demo.sh"
built
target=${CARGO_TARGET_DIR:-$root/target}/debug
if [ -z "${GATE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet -p vouchsafe-verify --features tower --example service)
    GATE_BIN=$target/examples/service
fi

start_demo

claim() { # TOKEN NAME
    python3 -c 'import base64, json, sys
part = sys.argv[1].split(".")[1]
print(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))).get(sys.argv[2], ""))' "$1" "$2"
}
onboarding=$(access_token onboarding)
good=$(eligibility_token permanent_resident restricted.api)
other=$(eligibility_token naturalised_old_card nationals.api)
# Where the service publishes lists every token names one, and then the gate is strict.
strict=
[ -n "$(claim "$good" status)" ] || strict=without-status
"$GATE_BIN" "$(claim "$good" iss)" edge restricted.api $strict >"$work/gate.url" 2>"$work/gate.log" &
pids+=($!)
wait_for 10 test -s "$work/gate.url"

port=$(free_port)
cat >"$work/nginx.conf" <<NGINX
pid $work/nginx.pid;
error_log $work/nginx.log;
daemon off;
events {}
http {
    access_log off;
    client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
    server {
        listen 127.0.0.1:$port;
        location /asked/ {
            auth_request /_gate;
            proxy_pass http://127.0.0.1:$port/application;
        }
        location = /application { return 200 "let in\n"; }
        location = /_gate {
            internal;
            proxy_pass $(cat "$work/gate.url")/;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
        error_page 500 =503 /unknown;
        location = /unknown { internal; return 503; }
    }
}
NGINX
nginx -c "$work/nginx.conf" &
gateway=$!
pids+=("$gateway")
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/application"
ask() { curl -s -m 10 -o /dev/null -w '%{http_code}' "$@" "http://127.0.0.1:$port/asked/"; }
bearer() { ask -H "Authorization: Bearer $1"; }

check "eligible by token" 200 "$(bearer "$good")"
check "no token" 401 "$(ask)"
check "garbage" 401 "$(bearer garbage)"
check "changed" 401 "$(bearer "${good%?????}AAAAA")"
check "another resource" 401 "$(bearer "$other")"
check "an access token" 401 "$(bearer "$onboarding")"
check "two tokens, which nginx takes for none" 400 "$(ask -H "Authorization: Bearer $good" -H "Authorization: Bearer $other")"
kill -KILL "$service"
wait "$service" 2>/dev/null || true
check "eligible by token, the service gone" 200 "$(bearer "$good")"
check "garbage, the service gone" 401 "$(bearer garbage)"

# A gate that never saw the issuer's keys lets nobody in.
"$GATE_BIN" "$(claim "$good" iss)" edge restricted.api $strict >"$work/late.url" 2>"$work/late.log" &
pids+=($!)
wait_for 10 test -s "$work/late.url"
check "a gate that began without the service" 503 \
    "$(curl -s -m 10 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $good" "$(cat "$work/late.url")/")"
sed -i "s|proxy_pass http://127.0.0.1:[0-9]*/;|proxy_pass $(cat "$work/late.url")/;|" "$work/nginx.conf"
kill "$gateway"
wait "$gateway" 2>/dev/null || true
nginx -c "$work/nginx.conf" &
pids+=("$!")
wait_for 10 curl -s -o /dev/null "http://127.0.0.1:$port/application"
check "… through nginx" 503 "$(bearer "$good")"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
