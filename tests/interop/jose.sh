#!/usr/bin/env bash
# Tokens of the demo, verified by clients that know nothing but the JWKS URL: jose (npm) and PyJWT (PyPI).
# Needs curl, python3 with venv, node and npm; VOUCHSAFE_BIN names a built binary, else it is built. The clients are
# installed into CLIENTS, a temporary folder unless set.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
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

# Both: JWKS-URL ISSUER AUDIENCE ALGORITHM SECONDS-AHEAD TOKEN; the claims, or `refused: …`.
cat >"$clients/verify.mjs" <<'JS'
import { createRemoteJWKSet, jwtVerify } from 'jose';
const [url, issuer, audience, algorithm, ahead, token] = process.argv.slice(2);
try {
  const currentDate = new Date(Date.now() + Number(ahead) * 1000);
  const options = { issuer, audience, algorithms: [algorithm], typ: 'eligibility+jwt', currentDate,
    requiredClaims: ['iss', 'aud', 'sub', 'iat', 'exp', 'jti', 'eligibility'] };
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(url)), options);
  console.log(`${payload.iss} ${payload.aud} ${payload.eligibility.resource}`);
} catch (error) { console.log(`refused: ${error.code}${error.claim ? ' ' + error.claim : ''}`); }
JS
cat >"$clients/verify.py" <<'PY'
import sys
import jwt
url, issuer, audience, algorithm, ahead, token = sys.argv[1:]
try:
    if jwt.get_unverified_header(token).get("typ") != "eligibility+jwt":
        raise jwt.InvalidTokenError("typ")
    key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
    # PyJWT takes no clock: a negative leeway is a clock ahead, for which every `iat` lies in the future.
    options = {"require": ["iss", "aud", "sub", "iat", "exp", "jti", "eligibility"], "verify_iat": ahead == "0"}
    claims = jwt.decode(token, key, algorithms=[algorithm], issuer=issuer, audience=audience,
                        leeway=-int(ahead), options=options)
    print(claims["iss"], claims["aud"], claims["eligibility"]["resource"])
except jwt.PyJWTError as error:
    print("refused:", type(error).__name__)
PY

start_demo
onboarding=$(access_token onboarding)
json=(-H 'Content-Type: application/json')
curl -fs -o /dev/null "$url/v1/audiences" -H "Authorization: Bearer $(access_token administrator)" "${json[@]}" \
    -d '{"id":"edge-eddsa","name":"The other edge","alg":"EdDSA","resources":["restricted.*"]}'
metadata=$(curl -fs "$url/.well-known/oauth-authorization-server")
jwks=$(member jwks_uri <<<"$metadata")
issuer=$(member issuer <<<"$metadata")
check "the JWKS holds no private member" 0 "$(curl -fs "$jwks" | python3 -c 'import json, sys
print(sum(name in key for key in json.load(sys.stdin)["keys"] for name in ("d", "p", "q", "dp", "dq", "qi", "k")))')"

flip() { local c=${1:20:1}; [ "$c" = A ] && c=B || c=A; echo "${1:0:20}$c${1:21}"; }
# Encodes anew, so that the text is well-formed and only the signature can tell.
forge() { python3 -c 'import base64, json, sys
decode = lambda text: json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
encode = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
head, claims, signature = sys.argv[1].split(".")
claims = decode(claims); claims["eligibility"]["resource"] = "restricted.other"
print(head + "." + encode(claims) + "." + signature)' "$1"; }
for pair in edge:ES256:EdDSA edge-eddsa:EdDSA:ES256; do
    IFS=: read -r audience alg other <<<"$pair"
    token=$(eligibility_token permanent_resident restricted.api "$audience")
    IFS=. read -r head payload signature <<<"$token"
    jose() { node "$clients/verify.mjs" "$@"; }
    pyjwt() { "$clients/venv/bin/python" "$clients/verify.py" "$@"; }
    while IFS='|' read -r client signature_code audience_code issuer_code expired_code typ_code alg_code; do
        check "$client, $alg: verifies" "$issuer $audience restricted.api" "$($client "$jwks" "$issuer" "$audience" "$alg" 0 "$token")"
        refused() { local name=$1 code=$2; shift 2; check "$client, $alg: $name" "refused: $code" "$($client "$jwks" "$@")"; }
        refused "altered signature" "$signature_code" "$issuer" "$audience" "$alg" 0 "$head.$payload.$(flip "$signature")"
        refused "altered claims" "$signature_code" "$issuer" "$audience" "$alg" 0 "$(forge "$token")"
        refused "another audience" "$audience_code" "$issuer" elsewhere "$alg" 0 "$token"
        refused "another issuer" "$issuer_code" https://elsewhere.example "$audience" "$alg" 0 "$token"
        refused "an hour later" "$expired_code" "$issuer" "$audience" "$alg" 3600 "$token"
        refused "an access token instead" "$typ_code" "$issuer" "$issuer" ES256 0 "$onboarding"
        refused "only $other allowed" "$alg_code" "$issuer" "$audience" "$other" 0 "$token"
    done <<'CODES'
jose|ERR_JWS_SIGNATURE_VERIFICATION_FAILED|ERR_JWT_CLAIM_VALIDATION_FAILED aud|ERR_JWT_CLAIM_VALIDATION_FAILED iss|ERR_JWT_EXPIRED exp|ERR_JWT_CLAIM_VALIDATION_FAILED typ|ERR_JOSE_ALG_NOT_ALLOWED
pyjwt|InvalidSignatureError|InvalidAudienceError|InvalidIssuerError|ExpiredSignatureError|InvalidTokenError|InvalidAlgorithmError
CODES
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
