#!/usr/bin/env bash
# Introspection and durable issuance beside a static answer of nginx and two other token servers, in three interleaved rounds of
# the same minutes: medians, ratios, and the slowest 1 % of issuing to 64 connections.
# PEERS is said in beside.sh; without it only nginx stands beside.
# Exit code 1 below a target: introspection half of nginx and 18 times oidc-provider; issuance 15 times glewlwyd and 5 times
# oidc-provider, its slowest 1 % within 15 ms.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
. benches/beside.sh
introspect() { AUTH="Bearer $onboarding" BODY="token=$token" post introspect "$url/oauth2/introspect"; }
issue() { # NAME
    AUTH="Bearer $onboarding" KIND=application/json BODY='{"resource":"restricted.api","audience":"edge"}' \
        post "$1" "$url/v1/subjects/$(demo subjects permanent_resident id)/tokens"
}
# A refusal would be measured as gladly.
[ "$(curl -fs "$url/oauth2/introspect" -H "Authorization: Bearer $onboarding" -d "token=$token" | member active)" = True ]

peers=()
granted() { # URL CREDENTIALS FORM
    curl -fs -m 5 -u "$2" -d "$3" "$1" | member access_token
}
if [ -n "${PEERS:-}" ]; then
    peers=(oidc glewlwyd)
    cp "$root/benches/peers/oidc-provider.mjs" "$PEERS/node/"
    (cd "$PEERS/node" && PORT=8201 ALG=ES256 NODE_ENV=production exec taskset -c 0 node oidc-provider.mjs >/dev/null 2>&1) &
    pids+=($!)
    wait_for 30 curl -fs http://127.0.0.1:8201/.well-known/openid-configuration
    oidc_user=c:secretsecretsecretsecretsecretsecret
    oidc_token=$(granted http://127.0.0.1:8201/token "$oidc_user" 'grant_type=client_credentials&scope=read&resource=urn:res:opaque')
    PIN='taskset -c 0' "$root/benches/peers/glewlwyd_setup.sh" "$PEERS/root" "$work/glewlwyd" >/dev/null 2>&1
    pids+=("$(cat "$work/glewlwyd/g.pid")")
    granted http://127.0.0.1:8204/api/oidc/token c:secret 'grant_type=client_credentials&scope=read' >/dev/null
fi
basic() { printf 'Basic %s' "$(printf %s "$1" | base64 -w0)"; }
beside_oidc() {
    AUTH=$(basic "$oidc_user") BODY="token=$oidc_token" post oidc-introspect http://127.0.0.1:8201/token/introspection
    AUTH=$(basic "$oidc_user") BODY='grant_type=client_credentials&scope=read&resource=urn:res:jwt' \
        post oidc-issue http://127.0.0.1:8201/token
}
beside_glewlwyd() {
    AUTH=$(basic c:secret) BODY='grant_type=client_credentials&scope=read' post glewlwyd-issue http://127.0.0.1:8204/api/oidc/token
}
for round in $(seq "$rounds"); do
    echo "round $round"
    load nginx "$nginx_url/"
    introspect
    issue issue
    connections=64 issue issue-64
    for peer in "${peers[@]}"; do "beside_$peer"; done
done
ratio introspect nginx 0.5
if [ ${#peers[@]} -gt 0 ]; then
    ratio introspect oidc-introspect 18
    ratio issue oidc-issue 5
    ratio issue glewlwyd-issue 15
fi
slow=$(median issue-64.p99)
echo "issuing to 64 connections: 99 % within $slow ms (target 15)"
awk -v slow="$slow" 'BEGIN { exit slow > 15 }' || failed=1
exit $failed
