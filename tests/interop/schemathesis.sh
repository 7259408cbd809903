#!/usr/bin/env bash
# Every operation of the demo, asked by schemathesis (PyPI) from its own OpenAPI document with a client that has every
# scope. Needs curl and python3 with venv; VOUCHSAFE_BIN names a built binary, else it is built. Schemathesis is
# installed into CLIENTS, a temporary folder unless set; EXAMPLES (20) is how often each operation is asked.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for tool in curl python3; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
if [ -z "${VOUCHSAFE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet)
    VOUCHSAFE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/vouchsafe
fi

work=$(mktemp -d)
service=
cleanup() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
clients=${CLIENTS:-$work/clients}
if [ ! -x "$clients/schemathesis/bin/st" ]; then
    python3 -m venv "$clients/schemathesis"
    "$clients/schemathesis/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.3,<5'
fi

TMPDIR=$work "$VOUCHSAFE_BIN" demo --listen 127.0.0.1:0 --json >"$work/demo.json" 2>"$work/demo.log" &
service=$!
for _ in $(seq 100); do
    [ -s "$work/demo.json" ] && break
    sleep 0.1
done
member() { # FILE NAME…
    python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2:]: value = value[name]
print(value)' "$@"
}
url=$(member "$work/demo.json" url)
token() { # ID SECRET
    curl -fsS "$url/oauth2/token" -u "$1:$2" -d grant_type=client_credentials >"$work/token.json"
    member "$work/token.json" access_token
}
administrator=$(token "$(member "$work/demo.json" clients administrator client_id)" \
    "$(member "$work/demo.json" clients administrator client_secret)")
scopes=$(curl -fsS "$url/.well-known/oauth-authorization-server" |
    python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["scopes_supported"]))')
curl -fsS "$url/v1/clients" -H "Authorization: Bearer $administrator" -H 'Content-Type: application/json' \
    -d "{\"name\":\"schemathesis\",\"owner\":\"Sam\",\"scopes\":$scopes,\"sources\":[\"src_self\"]}" >"$work/client.json"
access=$(token "$(member "$work/client.json" client_id)" "$(member "$work/client.json" client_secret)")

cd "$work"
"$clients/schemathesis/bin/st" run "$url/openapi.json" --header "Authorization: Bearer $access" \
    --checks all --exclude-checks positive_data_acceptance --max-examples "${EXAMPLES:-20}" --phases examples,coverage,fuzzing \
    --seed 1 --workers 1 --request-timeout 20 --continue-on-failure --no-color
