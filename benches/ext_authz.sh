#!/usr/bin/env bash
# Envoy's question by HTTP and by gRPC over HTTP/2, each beside a static answer of nginx and an empty route by the same protocol
# (by gRPC one that reads the question and answers with an empty message), in interleaved rounds of the same minutes: medians
# and ratios. By gRPC once over as many connections as by HTTP, one question at a time on each, and once as Envoy has it: one
# connection with as many questions under way.
# Needs h2load (beside.sh). Exit code 1 below FLOOR (0.3) of the empty route, or when an answer was no admission.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
floor=${FLOOR:-0.3}
cd "$root"
. benches/beside.sh
start_empty
key=$(demo gateways edge key)
grpc_question "$work/question"
grpc=(-d "$work/question" -H 'content-type: application/grpc' -H 'te: trailers' -H "x-gateway-key: $key")
method=$(demo grpc_url)/envoy.service.auth.v3.Authorization/Check
by_http=(-H "X-Gateway-Key: $key" -H "Authorization: Bearer $token")
curl -fs -o /dev/null "${by_http[@]}" "$url/gateway/envoy/restricted.api/x"
for round in $(seq "$rounds"); do
    echo "round $round"
    load nginx "$nginx_url/"
    load empty "$empty_url/"
    load http "$url/gateway/envoy/restricted.api/x" "${by_http[@]}"
    # gRPC tells a failure in its trailers, under a status of 200: what was admitted is counted by the service.
    before=$(counted)
    for shape in "$connections 1" "1 $connections"; do
        read -r c m <<<"$shape"
        of=$([ "$c" = 1 ] && echo one || echo many)
        load_h2 "nginx-$of" "$nginx_h2_url/" "$c" "$m" "${grpc[@]}"
        load_h2 "empty-$of" "$empty_url/grpc" "$c" "$m" "${grpc[@]}"
        load_h2 "grpc-$of" "$method" "$c" "$m" "${grpc[@]}"
    done
    admitted=$(($(counted) - before))
    asked=$(tail -qn 1 "$work/grpc-many" "$work/grpc-one" | awk -v each="$each" '{ sum += $1 * each } END { print int(sum) }')
    check "every gRPC answer of round $round was an admission ($admitted of $asked)" yes \
        "$(awk -v a="$admitted" -v q="$asked" 'BEGIN { print (a >= 0.99 * q) ? "yes" : "no" }')"
done
check "nobody was refused" 0 "$(counted no)"
ratio http nginx
ratio http empty "$floor"
for of in many one; do
    ratio "grpc-$of" "nginx-$of"
    ratio "grpc-$of" "empty-$of" "$floor"
done
[ "$failed" -eq 0 ]
