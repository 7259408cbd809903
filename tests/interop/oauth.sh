#!/usr/bin/env bash
# The authorization server, asked by clients of others against a running service: openid-client and jose (npm), Authlib,
# PyJWT and joserfc (PyPI), oauth2 and openidconnect (crates.io). They obtain, exchange, verify, introspect and revoke.
#   oauth.sh [node] [python] [rust]
# Needs curl, python3 with venv, node and npm, cargo; VOUCHSAFE_BIN names a built binary, else it is built. The clients are
# installed into CLIENTS, a temporary folder unless set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
for tool in curl python3 node npm cargo; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
if [ -z "${VOUCHSAFE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet)
    VOUCHSAFE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/vouchsafe
fi
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(node python rust)

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
mkdir -p "$clients"

TMPDIR=$work "$VOUCHSAFE_BIN" demo --listen 127.0.0.1:0 --json >"$work/demo.json" 2>"$work/demo.log" &
service=$!
for _ in $(seq 600); do [ -s "$work/demo.json" ] && break; sleep 0.1; done
[ -s "$work/demo.json" ] || { cat "$work/demo.log" >&2; exit 1; }
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[name]
print(value)' "$@"; }
demo() { member "$@" <"$work/demo.json"; }
access_token() {
    curl -fs "$URL/oauth2/token" -u "$(demo clients "$1" client_id):$(demo clients "$1" client_secret)" \
        -d grant_type=client_credentials | member access_token
}
export URL ADMIN ONBOARDING ELIGIBLE NEWCOMER
URL=$(demo url)
ADMIN=$(access_token administrator)
ONBOARDING=$(access_token onboarding)
ELIGIBLE=$(demo subjects permanent_resident id)
NEWCOMER=$(demo subjects newcomer id)

failed=0
for name in "${wanted[@]}"; do
    case $name in
    node)
        [ -d "$clients/node_modules/openid-client" ] ||
            npm install --silent --no-fund --no-audit --prefix "$clients" jose@6 openid-client@6 >/dev/null
        cp "$here/oauth.mjs" "$clients/oauth.mjs"
        timeout 120 node "$clients/oauth.mjs" || failed=1
        ;;
    python)
        if [ ! -x "$clients/venv/bin/python" ]; then
            python3 -m venv "$clients/venv"
            "$clients/venv/bin/pip" install --quiet --disable-pip-version-check \
                'authlib>=1.5,<2' 'joserfc>=1,<2' 'pyjwt[crypto]>=2.10,<3' 'requests>=2.32,<3'
        fi
        # Authlib asks for TLS unless it is told that this machine is not the world.
        AUTHLIB_INSECURE_TRANSPORT=1 timeout 120 "$clients/venv/bin/python" "$here/oauth.py" || failed=1
        ;;
    rust)
        CARGO_TARGET_DIR=$clients/target timeout 900 cargo build --quiet --locked --manifest-path "$here/oauth-rs/Cargo.toml"
        timeout 120 "$clients/target/debug/oauth-interop" || failed=1
        ;;
    *) echo "no client \`$name\`" >&2; exit 64 ;;
    esac
done
exit $failed
