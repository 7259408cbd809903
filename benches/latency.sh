#!/usr/bin/env bash
# How long answers take at a fixed rate, half and four fifths of what the same connections can have at most in the same minute,
# counted from the instant at which the question was due (benches/paced.rs). Three interleaved rounds, medians of p50, p99 and
# p99.9; a static answer of nginx and an empty route, by the same generator, tell what of it is the machine's.
# Needs h2load (beside.sh); PACED_BIN names a built generator.
# Exit code 1 when at half of it one of a hundred of our answers takes longer than LIMIT (15 ms).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
limit=${LIMIT:-15}
cd "$root"
. benches/beside.sh
paced=${PACED_BIN:-$(built_bench paced)}
start_empty
edge="X-Gateway-Key: $(demo gateways edge key)"
portal="X-Gateway-Key: $(demo gateways portal key)"
asker=$(authzen_client)
question="{\"subject\":{\"type\":\"person\",\"id\":\"$(demo subjects permanent_resident id)\"},\"action\":{\"name\":\"use\"},\"resource\":{\"type\":\"service\",\"id\":\"restricted.api\"}}"
grpc_question "$work/grpc.request"
form='Content-Type: application/x-www-form-urlencoded'
paths=(nginx empty token caller authzen introspect envoy)
declare -A target
asks() { # NAME URL METHOD BODY HEADER…: the request as wrk and as the paced generator send it
    local name=$1 method=$3 body=$4 authority
    target[$name]=$2
    authority=${2#http://}
    authority=${authority%%/*}
    {
        printf '%s %s HTTP/1.1\r\nHost: %s\r\n' "$method" "/${2#http://*/}" "$authority"
        printf '%s\r\n' "${@:5}"
        [ "$method" = GET ] || printf 'Content-Length: %s\r\n' "${#body}"
        printf '\r\n%s' "$body"
    } >"$work/$name.request"
    {
        printf 'wrk.method, wrk.body = [[%s]], [[%s]]\n' "$method" "$body"
        for header in "${@:5}"; do printf 'wrk.headers["%s"] = [[%s]]\n' "${header%%: *}" "${header#*: }"; done
    } >"$work/$name.lua"
}
asks nginx "$nginx_url/" GET "" "Accept: */*"
asks empty "$empty_url/" GET "" "Accept: */*"
asks token "$url/gateway/check/restricted.api" GET "" "$edge" "Authorization: Bearer $token"
asks caller "$url/gateway/check/restricted.api" GET "" "$portal" "X-Vouchsafe-Caller: api-key:key-permanent_resident"
asks authzen "$url/access/v1/evaluation" POST "$question" "Authorization: Bearer $asker" "Content-Type: application/json"
asks introspect "$url/oauth2/introspect" POST "token=$token" "Authorization: Bearer $onboarding" "$form"
asks envoy "$url/gateway/envoy/restricted.api/x" GET "" "$edge" "Authorization: Bearer $token"
grpc_url=$(demo grpc_url)
call=/envoy.service.auth.v3.Authorization/Check
grpc=(-d "$work/grpc.request" -H 'content-type: application/grpc' -H 'te: trailers' -H "x-gateway-key: ${edge#*: }")

at() { # NAME SHARE, then arguments of the generator: at that share of the rate just measured
    local name=$1 share=$2 rate out
    rate=$(tail -n 1 "$work/$name" | awk -v share="$share" '{ printf "%d", $1 * share }')
    out=$(taskset -c 1 "$paced" "$3" "$4" "$rate" "$each" "${@:5}") || { echo "$name at $share: $out" >&2; exit 1; }
    read -r p50 p99 p999 < <(awk '{ print $4, $6, $8 }' <<<"$out")
    echo "$p50" >>"$work/$name.$share.p50"
    echo "$p99" >>"$work/$name.$share.p99"
    echo "$p999" >>"$work/$name.$share.p999"
    echo "  $name at $rate/s: $out"
}
for round in $(seq "$rounds"); do
    echo "round $round"
    for name in "${paths[@]}"; do
        load "$name" "${target[$name]}" -s "$work/$name.lua"
        authority=${target[$name]#http://}
        for share in 0.5 0.8; do at "$name" "$share" http "${authority%%/*}" "$connections" "$work/$name.request"; done
    done
    load_h2 grpc "$grpc_url$call" 1 "$connections" "${grpc[@]}"
    for share in 0.5 0.8; do
        at grpc "$share" grpc "${grpc_url#http://}" "$connections" "$work/grpc.request" "$call" x-gateway-key "${edge#*: }"
    done
done
check "no gateway was refused in $(counted) checks" 0 "$(counted no)"
printf '%-12s %10s   %s\n' "" "at most" "p50, p99, p99.9 in ms at 0.5 and at 0.8 of it"
for name in "${paths[@]}" grpc; do
    printf '%-12s %8d/s' "$name" "$(median "$name" | cut -d. -f1)"
    for share in 0.5 0.8; do
        printf '   %6.2f %7.2f %7.2f' "$(median "$name.$share.p50")" "$(median "$name.$share.p99")" "$(median "$name.$share.p999")"
    done
    echo
    case $name in nginx | empty) continue ;; esac
    awk -v slow="$(median "$name.0.5.p99")" -v limit="$limit" 'BEGIN { exit slow > limit }' || fail "$name" "one of a hundred takes longer than $limit ms"
done
[ "$failed" -eq 0 ]
