#!/usr/bin/env bash
# AuthZEN evaluation, asked by a client's access token and by a gateway's key, and twenty questions in one, beside a static
# answer of nginx, an empty route and two policy decision points, in interleaved rounds of the same minutes: medians and ratios.
# PEERS is said in beside.sh: cedar-agent and Cerbos answer from eight policies over fifteen attributes that the question
# brings (benches/peers), ask nobody who they are, and keep nothing of anybody.
# Exit code 1 below a target: 6 times cedar-agent, 24 times Cerbos.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
. benches/beside.sh
start_empty
json='Content-Type: application/json'
asker=$(authzen_client)
key="X-Gateway-Key: $(demo gateways portal key)"
who="\"subject\":{\"type\":\"person\",\"id\":\"$(demo subjects permanent_resident id)\"}"
what='"action":{"name":"use"}'
question="{$who,$what,\"resource\":{\"type\":\"service\",\"id\":\"restricted.api\"}}"
asserted="{\"subject\":{\"type\":\"api-key\",\"id\":\"key-permanent_resident\"},$what,\"resource\":{\"type\":\"service\",\"id\":\"restricted.api\"}}"
twenty="{$who,$what,\"evaluations\":[$(seq -s, 20 | sed 's/[0-9]\+/{"resource":{"type":"service","id":"restricted.r&"}}/g')]}"
by_client() { AUTH="Bearer $asker" KIND=application/json BODY=$question post client "$url/access/v1/evaluation"; }
by_gateway() { KIND=application/json BODY=$asserted post gateway "$url/access/v1/evaluation" -H "$key"; }
of_twenty() { AUTH="Bearer $asker" KIND=application/json BODY=$twenty post twenty "$url/access/v1/evaluations"; }
# A refusal would be measured as gladly: one is looked at now, all are counted in the end.
ask() { curl -fs "$url$1" -H "$json" "${@:2}"; }
[ "$(ask /access/v1/evaluation -H "Authorization: Bearer $asker" -d "$question" | member decision)" = True ]
[ "$(ask /access/v1/evaluation -H "$key" -d "$asserted" | member decision)" = True ]
[ "$(ask /access/v1/evaluations -H "Authorization: Bearer $asker" -d "$twenty" | grep -o '"decision":true' | wc -l)" = 20 ]
answers() { # permit or deny
    curl -fs "$(demo admin_url)/metrics" | awk -v name="vouchsafe_access_evaluations_total{answer=\"$1\"}" '$1 == name {print $2; found = 1} END {if (!found) print 0}'
}

peers=()
if [ -n "${PEERS:-}" ]; then
    peers=(cedar cerbos cerbos_twenty)
    cedar_url=http://127.0.0.1:$(free_port)
    ROCKET_WORKERS=1 taskset -c 0 "$PEERS/ca/bin/cedar-agent" --addr 127.0.0.1 --port "${cedar_url##*:}" -l off >"$work/cedar.log" 2>&1 &
    pids+=($!)
    wait_for 30 curl -fs "$cedar_url/v1/"
    curl -fs -o /dev/null -X PUT -H "$json" -d @benches/peers/cedar_policies.json "$cedar_url/v1/policies"
    cedar_body=$(cat benches/peers/cedar_question.json)
    [ "$(curl -fs -H "$json" -d "$cedar_body" "$cedar_url/v1/is_authorized" | member decision)" = Allow ]

    cerbos_url=http://127.0.0.1:$(free_port)
    cat >"$work/cerbos.yaml" <<E2
server: { httpListenAddr: "${cerbos_url#http://}", grpcListenAddr: "127.0.0.1:$(free_port)", adminAPI: { enabled: false } }
telemetry: { disabled: true }
audit: { enabled: false }
storage: { driver: "disk", disk: { directory: "$root/benches/peers/cerbos", watchForChanges: false } }
E2
    GOMAXPROCS=1 taskset -c 0 "$PEERS/node/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64" server \
        --config="$work/cerbos.yaml" >"$work/cerbos.log" 2>&1 &
    pids+=($!)
    wait_for 30 curl -fs "$cerbos_url/_cerbos/health"
    cerbos_body=$(cat benches/peers/cerbos_question.json)
    cerbos_20=$(python3 -c 'import json, sys
asked = json.loads(sys.argv[1])
[one] = asked["resources"]
asked["resources"] = [{**one, "resource": {**one["resource"], "id": f"o{number}"}} for number in range(20)]
print(json.dumps(asked))' "$cerbos_body")
    allowed() { curl -fs -H "$json" -d "$1" "$cerbos_url/api/check/resources" | grep -o EFFECT_ALLOW | wc -l; }
    [ "$(allowed "$cerbos_body")" = 1 ] && [ "$(allowed "$cerbos_20")" = 20 ]
fi
beside_cedar() { KIND=application/json BODY=$cedar_body post cedar-agent "$cedar_url/v1/is_authorized"; }
beside_cerbos() { KIND=application/json BODY=$cerbos_body post cerbos "$cerbos_url/api/check/resources"; }
beside_cerbos_twenty() { KIND=application/json BODY=$cerbos_20 post cerbos-twenty "$cerbos_url/api/check/resources"; }
for round in $(seq "$rounds"); do
    echo "round $round"
    load nginx "$nginx_url/"
    load empty "$empty_url/"
    by_client
    by_gateway
    of_twenty
    for peer in "${peers[@]}"; do "beside_$peer"; done
done
check "nobody was refused of $(answers permit)" 0 "$(answers deny)"
ratio client nginx
ratio client empty
ratio gateway nginx
ratio gateway empty
if [ ${#peers[@]} -gt 0 ]; then
    ratio client cedar-agent 6
    ratio client cerbos 24
    ratio gateway cedar-agent 6
    ratio gateway cerbos 24
    ratio twenty cerbos-twenty
fi
awk -v each="$(median twenty)" 'BEGIN { printf "by twenties: %d questions/s\n", each * 20 }'
[ "$failed" -eq 0 ]
