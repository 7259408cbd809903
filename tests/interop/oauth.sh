#!/usr/bin/env bash
# The authorization server, asked by clients of others against a running service: openid-client and jose (npm), Authlib,
# PyJWT and joserfc (PyPI), oauth2 and openidconnect (crates.io). They obtain, exchange, verify, introspect and revoke.
#   oauth.sh [node] [python] [rust]
# Needs curl, python3 with venv, node and npm, cargo; VOUCHSAFE_BIN names a built binary, else it is built. The clients are
# installed into CLIENTS, a temporary folder unless set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
needs="node npm cargo"
. "$root/tests/demo.sh"
built
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(node python rust)

clients=${CLIENTS:-$work/clients}
mkdir -p "$clients"

start_demo
export URL ADMIN ONBOARDING ELIGIBLE NEWCOMER
URL=$url
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
