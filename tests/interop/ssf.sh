#!/usr/bin/env bash
# Security event tokens of the demo, fetched and pushed, verified by clients that know nothing but the metadata: PyJWT (PyPI)
# and jose (npm); and a provider, played with PyJWT, that says that a session is over. Needs curl, python3 with venv, node and
# npm; VOUCHSAFE_BIN names a built binary, else it is built. The clients are installed into CLIENTS, a temporary folder unless
# set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
needs="node npm"
. "$root/tests/demo.sh"
built
clients=${CLIENTS:-$work/clients}
mkdir -p "$clients"
[ -d "$clients/node_modules/jose" ] || npm install --silent --no-fund --no-audit --prefix "$clients" jose@6 >/dev/null
if [ ! -x "$clients/venv/bin/python" ]; then
    python3 -m venv "$clients/venv"
    "$clients/venv/bin/pip" install --quiet --disable-pip-version-check 'pyjwt[crypto]>=2.10,<3'
fi
# JWKS-URL ISSUER AUDIENCE TOKEN: its event and subject, or `refused: …`.
cat >"$clients/event.mjs" <<'JS'
import { createRemoteJWKSet, jwtVerify } from 'jose';
const [url, issuer, audience, token] = process.argv.slice(2);
try {
  const options = { issuer, audience, algorithms: ['RS256'], typ: 'secevent+jwt', requiredClaims: ['iat', 'jti', 'txn', 'sub_id', 'events'] };
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(url)), options);
  console.log(Object.keys(payload.events).join(' ').split('/').pop(), payload.sub_id.format);
} catch (error) { console.log(`refused: ${error.code}`); }
JS
start_demo
export URL ADMIN SUBJECT JOSE
URL=$url
ADMIN=$(access_token administrator)
SUBJECT=$(demo subjects permanent_resident id)
JOSE=$clients/event.mjs
timeout 120 "$clients/venv/bin/python" "$here/ssf.py"
