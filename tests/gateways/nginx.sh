#!/usr/bin/env bash
# A real nginx with examples/gateways/nginx.conf.template in front of an application, and the demo behind it.
# Needs nginx (with auth_request and realip), curl and python3; VOUCHSAFE_BIN names a built binary, else it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
needs=nginx
. "$root/tests/demo.sh"
built

# The application: 200, and the headers it received as JSON.
cat >"$work/application.py" <<'PY'
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("latin-1")
        shown = json.dumps({"headers": [[n.lower(), v] for n, v in self.headers.items()], "body": body}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(shown)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(shown)
    do_GET = do_POST = do_HEAD = answer
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
python3 "$work/application.py" >"$work/application.port" 2>"$work/application.log" &
pids+=($!)

start_demo
wait_for 10 test -s "$work/application.port"
portal_key=$(demo gateways portal key)
edge_key=$(demo gateways edge key)
wait_for 20 curl -fs "$url/readyz"

port=$(free_port)
sed -e "s|\${LISTEN}|127.0.0.1:$port|" -e "s|\${APPLICATION}|127.0.0.1:$(cat "$work/application.port")|" \
    -e "s|\${VOUCHSAFE}|${url#http://}|" -e "s|\${TOKEN_GATEWAY_KEY}|$edge_key|" \
    -e "s|\${ASSERTING_GATEWAY_KEY}|$portal_key|" \
    "$root/examples/gateways/nginx.conf.template" | install -m 0600 /dev/stdin "$work/vouchsafe.conf"
# As behind a load balancer that names the client in a header of its own: this gives each check its address.
cat >"$work/nginx.conf" <<E2
daemon off;
worker_processes 1;
pid $work/nginx.pid;
error_log $work/nginx.log warn;
events { worker_connections 128; }
http {
    access_log off;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Load-Balancer-Client;
    include $work/vouchsafe.conf;
}
E2
# Started by root, nginx would hand its worker to another account that cannot read the folder.
[ "$(id -u)" -ne 0 ] || sed -i '1i user root;' "$work/nginx.conf"
nginx -p "$work" -c "$work/nginx.conf" -e "$work/nginx.log" 2>>"$work/nginx.log" &
pids+=($!)
gate=http://127.0.0.1:$port
wait_for 10 curl -s -o /dev/null "$gate/"

# ask CURL-ARGUMENTS…: sets status, reason, challenge and the body in $work/body.json.
ask() {
    status=$(curl -s -m 10 -D "$work/head" -o "$work/body.json" -w '%{http_code}' "$@") || status=none
    local header
    header() { { grep -i "^$1:" "$work/head" || true; } | tail -n 1 | cut -d: -f2- | tr -d '\r' | sed 's/^ *//'; }
    reason=$(header X-Eligibility-Reason)
    challenge=$(header WWW-Authenticate)
}
# expect NAME STATUS REASON CURL-ARGUMENTS…
expect() {
    local name=$1 wanted=$2 why=$3
    shift 3
    ask "$@"
    check "$name" "$wanted${why:+ $why}" "$status${reason:+ $reason}"
}
onboarding=$(access_token onboarding)
officer_1=$(access_token officer-1)
officer_2=$(access_token officer-2)

echo "# by token"
token=$(eligibility_token permanent_resident restricted.api)
bearer=(-H "Authorization: Bearer $token")
expect "eligible by token" 200 "" "${bearer[@]}" "$gate/by-token/"
received() { python3 -c 'import json, sys
found = [v for n, v in json.load(open(sys.argv[1]))["headers"] if n == sys.argv[2].lower()]
print("|".join(found))' "$work/body.json" "$1"; }
decision=$(received X-Eligibility-Decision)
check "the application learns the decision" yes "$([ -n "$decision" ] && echo yes || echo no)"
subject=$(received X-Eligibility-Subject)
case $subject in
    "" | sub_*) fail "the application learns the subject as a pairwise value" "found \`$subject\`" ;;
    *) pass "the application learns the subject as a pairwise value" ;;
esac
expect "HEAD by token" 200 "" -I "${bearer[@]}" "$gate/by-token/"
expect "POST with a body by token" 200 "" "${bearer[@]}" -d 'some body' "$gate/by-token/"
check "the body reaches the application" "some body" "$(member body <"$work/body.json")"
expect "no credential" 401 "" "$gate/by-token/"
check "… with a challenge" "Bearer" "$challenge"
expect "garbage token" 401 "" -H 'Authorization: Bearer garbage' "$gate/by-token/"
check "… with a challenge" 'Bearer error="invalid_token"' "$challenge"
IFS=. read -r head payload signature <<<"$token"
flip() { local c=${1:20:1}; [ "$c" = A ] && c=B || c=A; echo "${1:0:20}$c${1:21}"; }
expect "tampered signature" 401 "" -H "Authorization: Bearer $head.$payload.$(flip "$signature")" "$gate/by-token/"
expect "tampered payload" 401 "" -H "Authorization: Bearer $head.$(flip "$payload").$signature" "$gate/by-token/"
expect "signature removed" 401 "" -H "Authorization: Bearer $head.$payload." "$gate/by-token/"
expect "token of another resource" 401 "" \
    -H "Authorization: Bearer $(eligibility_token naturalised_old_card nationals.api)" "$gate/by-token/"
expect "access token of a client instead" 401 "" -H "Authorization: Bearer $onboarding" "$gate/by-token/"
expect "API key where a token is asked for" 401 "" -H 'X-Api-Key: key-permanent_resident' "$gate/by-token/"
revoked=$(eligibility_token permanent_resident restricted.api)
expect "a second token, before its revocation" 200 "" -H "Authorization: Bearer $revoked" "$gate/by-token/"
curl -fs -o /dev/null "$url/oauth2/revoke" -H "Authorization: Bearer $onboarding" -d "token=$revoked"
expect "… and at once after it" 403 token.revoked -H "Authorization: Bearer $revoked" "$gate/by-token/"
expect "the first token is not touched by it" 200 "" "${bearer[@]}" "$gate/by-token/"

echo "# by API key"
key() { expect "$1" "$2" "$3" -H "X-Api-Key: key-$1" "$gate/by-key/"; }
for name in dual_citizen_travelling permanent_resident asylee visa_holder_listed_employer naturalised_old_card; do
    key "$name" 200 ""
done
key visa_holder_vouch_revoked 403 status.ineligible
key contractor_contradicted 403 status.review
key self_declared_expired_document 403 status.insufficient
key newcomer 403 status.insufficient
key unknown 403 caller.unlinked
expect "no key" 401 "" "$gate/by-key/"
expect "a key with a space" 401 "" -H 'X-Api-Key: key permanent_resident' "$gate/by-key/"
expect "token where a key is asked for" 401 "" "${bearer[@]}" "$gate/by-key/"

echo "# forged headers"
forged=(-H 'X-Vouchsafe-Caller: api-key:key-permanent_resident')
expect "caller, no token" 401 "" "${forged[@]}" "$gate/by-token/"
expect "caller and the asserting gateway's key, no token" 401 "" "${forged[@]}" -H "X-Gateway-Key: $portal_key" "$gate/by-token/"
expect "caller beside an ineligible key" 403 status.ineligible "${forged[@]}" \
    -H 'X-Api-Key: key-visa_holder_vouch_revoked' "$gate/by-key/"
expect "caller beside an unlinked key" 403 caller.unlinked "${forged[@]}" -H 'X-Api-Key: key-unknown' "$gate/by-key/"
expect "caller, no key" 401 "" "${forged[@]}" "$gate/by-key/"
expect "gateway key, no credential" 401 "" -H "X-Gateway-Key: $portal_key" "$gate/by-key/"
expect "a wrong gateway key takes nothing away" 200 "" -H 'X-Gateway-Key: gw_x.y' "${bearer[@]}" "$gate/by-token/"
expect "the check is not reachable from outside" 404 "" "${forged[@]}" "$gate/_vouchsafe/key/restricted.api"
expect "a gateway of tokens asserts nobody, even directly" 401 "" -H "X-Gateway-Key: $edge_key" "${forged[@]}" \
    "$url/gateway/check/restricted.api"
theirs=()
for name in X-Eligibility-Decision X-Eligibility-Reason X-Eligibility-Valid-Until X-Eligibility-Subject \
    X-Eligibility-Stale X_Eligibility_Subject X-Vouchsafe-Caller X-Gateway-Key; do
    theirs+=(-H "$name: forged")
done
for way in by-token by-key; do
    expect "forged results, $way" 200 "" "${theirs[@]}" "${bearer[@]}" -H 'X-Api-Key: key-permanent_resident' "$gate/$way/"
    check "… none reaches the application" 0 "$(grep -c forged "$work/body.json" || true)"
    check "… the real subject does" "$subject" "$(received X-Eligibility-Subject)"
done

echo "# where the request comes from"
from() { # NAME STATUS REASON ADDRESS [CURL-ARGUMENTS…]
    local address=$4
    local name=$1 wanted=$2 why=$3
    shift 4
    expect "$name" "$wanted" "$why" -H "X-Load-Balancer-Client: $address" -H 'X-Api-Key: key-permanent_resident' "$@" "$gate/regional/"
}
from "an address nothing is known of" 403 status.insufficient 127.0.0.1
if [ -s "$root/fixtures/geoip/test.mmdb" ]; then
    from "allowed country" 200 "" 192.0.2.7
    # An embargoed country is evidence against; a VPN exit is no evidence of a country.
    from "embargoed country" 403 status.ineligible 198.51.100.7
    from "VPN exit" 403 status.insufficient 203.0.113.7
    from "embargoed country, X-Forwarded-For from outside" 403 status.ineligible 198.51.100.7 -H 'X-Forwarded-For: 192.0.2.7'
    from "VPN exit, X-Forwarded-For from outside" 403 status.insufficient 203.0.113.7 -H 'X-Forwarded-For: 192.0.2.7'
    from "allowed country, X-Forwarded-For from outside" 200 "" 192.0.2.7 -H 'X-Forwarded-For: 198.51.100.7'
else
    for name in "allowed country" "embargoed country" "VPN exit"; do skip "$name" "fixtures/geoip/test.mmdb is empty"; done
fi
from "unknown address, X-Forwarded-For from outside" 403 status.insufficient 127.0.0.1 -H 'X-Forwarded-For: 192.0.2.7'

echo "# an order"
directive() { # TOKEN PATH BODY: prints the status
    curl -s -o "$work/directive.json" -w '%{http_code}' "$url/v1/directives$2" -H "Authorization: Bearer $1" -H "Content-Type: application/toml" -d "$3"
}
key=(-H 'X-Api-Key: key-permanent_resident')
order='id = "order-1"
authority = "an authority"
citation = "order 1"
actions = [{ freeze = "restricted.*" }]'
check "one officer freezes" 201 "$(directive "$officer_1" "" "$order")"
began=$(date +%s%N)
until ask "${bearer[@]}" "$gate/by-token/"; [ "$status $reason" = "403 directive.frozen" ]; do
    [ $((($(date +%s%N) - began) / 1000000)) -lt 2000 ] || break
    sleep 0.02
done
took=$((($(date +%s%N) - began) / 1000000))
check "by token refused within 2 s (after $took ms)" "403 directive.frozen" "$status $reason"
expect "by key refused" 403 directive.frozen "${key[@]}" "$gate/by-key/"
expect "another resource is not touched" 200 "" -H "X-Gateway-Key: $portal_key" \
    -H 'X-Vouchsafe-Caller: api-key:key-dual_citizen_travelling' "$url/gateway/check/nationals.api"
lift='id = "order-2"
authority = "the same authority"
citation = "order 2"
actions = [{ lift = { directive = "order-1" } }]'
check "one officer proposes to lift it" 201 "$(directive "$officer_1" "" "$lift")"
check "the same officer cannot be the second" 403 "$(directive "$officer_1" /order-2/approve "")"
expect "one officer lifts nothing" 403 directive.frozen "${key[@]}" "$gate/by-key/"
check "the second officer approves" 200 "$(directive "$officer_2" /order-2/approve "")"
began=$(date +%s%N)
until ask "${bearer[@]}" "$gate/by-token/"; [ "$status" = 200 ]; do
    [ $((($(date +%s%N) - began) / 1000000)) -lt 2000 ] || break
    sleep 0.02
done
check "by token admitted again" 200 "$status"
expect "by key admitted again" 200 "" "${key[@]}" "$gate/by-key/"

echo "# without the service"
kill -KILL "$service"
wait "$service" 2>/dev/null || true
expect "by token refused" 503 "" "${bearer[@]}" "$gate/by-token/"
expect "by key refused" 503 "" "${key[@]}" "$gate/by-key/"

[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
