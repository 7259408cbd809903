#!/usr/bin/env bash
# Deliveries of a running service, verified by the reference libraries of Standard Webhooks (PyPI and npm
# `standardwebhooks`), a rotated secret and Ed25519 included.
#   webhooks.sh [python] [node]
# Needs curl, python3 with venv, node and npm; VOUCHSAFE_BIN names a built binary, else it is built. The libraries are
# installed into CLIENTS, a temporary folder unless set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
needs="node npm"
. "$root/tests/demo.sh"
built
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(python node)

clients=${CLIENTS:-$work/clients}
mkdir -p "$clients"

start_demo
export URL ADMIN ONBOARDING
URL=$url
ADMIN=$(access_token administrator)
ONBOARDING=$(access_token onboarding)

failed=0
for name in "${wanted[@]}"; do
    case $name in
    python)
        if [ ! -x "$clients/webhooks/bin/python" ]; then
            python3 -m venv "$clients/webhooks"
            "$clients/webhooks/bin/pip" install --quiet --disable-pip-version-check 'standardwebhooks>=1,<2' 'cryptography>=43'
        fi
        timeout 120 "$clients/webhooks/bin/python" "$here/webhooks.py" || failed=1
        ;;
    node)
        [ -d "$clients/node_modules/standardwebhooks" ] ||
            npm install --silent --no-fund --no-audit --prefix "$clients" standardwebhooks@1 >/dev/null
        cp "$here/webhooks.mjs" "$clients/webhooks.mjs"
        timeout 120 node "$clients/webhooks.mjs" || failed=1
        ;;
    *) echo "no library \`$name\`" >&2; exit 64 ;;
    esac
done
exit $failed
