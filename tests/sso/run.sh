#!/usr/bin/env bash
# The snippets of examples/sso, run in node against the demo with a stub of what their platform gives them: yes for whoever is
# eligible, no for everybody else, and no when anything fails. Keycloak's Java classes are stubbed too, over curl.
# Needs bash, curl, python3 and node 20 or newer; VOUCHSAFE_BIN names a built binary, else it is built.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
needs="node"
. "$root/tests/demo.sh"
built
start_demo
administrator=$(access_token administrator)
onboarding=$(access_token onboarding)
api() { # TOKEN PATH JSON
    curl -fs "$url$2" -H "Authorization: Bearer $1" -H 'Content-Type: application/json' -d "$3"
}
created=$(api "$administrator" /v1/clients '{"name":"sso","owner":"Ida","scopes":["sso:claims"]}')
id=$(member client_id <<<"$created") secret=$(member client_secret <<<"$created")
provider="{\"name\":\"users\",\"issuer\":\"https://idp.example\",\"namespace\":\"idp\",\"clients\":[\"$id\"],\"resources\":[\"restricted.api\"]}"
api "$administrator" /v1/identity-providers "$provider" >/dev/null
for pair in asylee:user-yes visa_holder_vouch_revoked:user-no; do
    subject=$(demo subjects "${pair%%:*}" id)
    api "$onboarding" "/v1/subjects/$subject/links" "{\"namespace\":\"idp\",\"id\":\"${pair##*:}\"}" >/dev/null
done
export VOUCHSAFE_URL=$url VOUCHSAFE_CLIENT_ID=$id VOUCHSAFE_CLIENT_SECRET=$secret VOUCHSAFE_RESOURCE=restricted.api

# PLATFORM USER: `true` or `false`, as the tokens would say, and whether there is an end to it.
run() { node "$root/tests/sso/platforms.mjs" "$root/examples/sso" "$@" 2>>"$work/node.log" || echo "crashed"; }
for platform in auth0 cognito-1 cognito-2 cognito-3 keycloak; do
    check "$platform: eligible" "true until" "$(run "$platform" user-yes)"
    check "$platform: not eligible" "false" "$(run "$platform" user-no)"
    check "$platform: unknown" "false" "$(run "$platform" user-unknown)"
    check "$platform: no user" "false" "$(run "$platform" '')"
    check "$platform: wrong secret" "false" "$(VOUCHSAFE_CLIENT_SECRET=wrong run "$platform" user-yes)"
    check "$platform: another resource" "false" "$(VOUCHSAFE_RESOURCE=regional.api run "$platform" user-yes)"
    check "$platform: nobody answers" "false" "$(VOUCHSAFE_URL=http://127.0.0.1:1 run "$platform" user-yes)"
done
# A service that takes the connection and says nothing.
port=$(free_port)
python3 -c 'import socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen(64); time.sleep(600)' "$port" &
pids+=("$!")
for platform in auth0 cognito-2 keycloak; do
    begun=$SECONDS
    check "$platform: silence" "false" "$(VOUCHSAFE_URL=http://127.0.0.1:$port run "$platform" user-yes)"
    check "$platform: silence is short" "yes" "$([ $((SECONDS - begun)) -le 4 ] && echo yes || echo "$((SECONDS - begun)) s")"
done
curl -fs -X PATCH "$url/v1/identity-providers/idp_idp" -H "Authorization: Bearer $administrator" \
    -H 'Content-Type: application/json' -d '{"disabled":true}' -o /dev/null
for platform in auth0 cognito-2 keycloak; do
    check "$platform: provider switched off" "false" "$(run "$platform" user-yes)"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
