#!/usr/bin/env bash
# Every operation asked by schemathesis (PyPI) from the service's own OpenAPI document: on SQLite and on PostgreSQL, by
# each role, with ids that are there (schemathesis.py) and ids that are not. A failure is any answer that the document
# does not describe, bad input taken, or a 5xx.
#   schemathesis.sh [ROLE…]
# Needs curl, python3 with venv, and a PostgreSQL server or DATABASES=sqlite. VOUCHSAFE_BIN names a built binary, else it
# is built. Schemathesis is installed into CLIENTS, a temporary folder unless set; EXAMPLES (20) is how often each
# operation is asked in each way, ONLY a pattern of paths.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
for tool in curl python3; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
if [ -z "${VOUCHSAFE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet)
    VOUCHSAFE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/vouchsafe
fi

work=$(mktemp -d)
# The database runs as another user, who must be able to pass through.
chmod 711 "$work"
service=
stop_service() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" 2>/dev/null || true
        service=
    fi
}
cleanup() {
    stop_service
    if [ -d "$work/pg" ]; then sh "$root/.ci/postgres.sh" stop "$work/pg" || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

clients=${CLIENTS:-$work/clients}
if [ ! -x "$clients/schemathesis/bin/st" ]; then
    python3 -m venv "$clients/schemathesis"
    "$clients/schemathesis/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.3,<5'
fi

roles=("$@")
if [ ${#roles[@]} -eq 0 ]; then
    roles=(everything onboarding employer rules-writer proposer approver auditor privacy administrator signals reviewer directory hook gateway nobody)
fi

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# A service on database $1, with its data in folder $2.
start_service() {
    export VOUCHSAFE_DATABASE=$1 VOUCHSAFE_MASTER_KEY_FILE=$2/master.key
    VOUCHSAFE_LISTEN=127.0.0.1:$(free_port)
    VOUCHSAFE_ADMIN_LISTEN=127.0.0.1:$(free_port)
    VOUCHSAFE_PUBLIC_ORIGIN=http://$VOUCHSAFE_LISTEN
    # What the limits refuse would not be asked.
    VOUCHSAFE_RATE_LIMIT_CLIENT=off VOUCHSAFE_RATE_LIMIT_GATEWAY=off
    VOUCHSAFE_RATE_LIMIT_PUBLIC=off VOUCHSAFE_RATE_LIMIT_TOKEN=off
    # Nobody listens there: what is told to an endpoint fails at once.
    export VOUCHSAFE_WEBHOOK_PORTS=9
    export VOUCHSAFE_LISTEN VOUCHSAFE_ADMIN_LISTEN VOUCHSAFE_PUBLIC_ORIGIN VOUCHSAFE_RATE_LIMIT_CLIENT \
        VOUCHSAFE_RATE_LIMIT_GATEWAY VOUCHSAFE_RATE_LIMIT_PUBLIC VOUCHSAFE_RATE_LIMIT_TOKEN
    "$VOUCHSAFE_BIN" keys master "$VOUCHSAFE_MASTER_KEY_FILE" >/dev/null
    "$VOUCHSAFE_BIN" migrate >/dev/null
    "$VOUCHSAFE_BIN" client create --json --name seed --owner Seed --scope admin --scope directives:approve \
        --scope directives:propose --scope rules:write --scope subjects:write >"$2/seed.json"
    "$VOUCHSAFE_BIN" client create --json --name second --owner Second --scope directives:approve >"$2/second.json"
    "$VOUCHSAFE_BIN" serve >"$2/service.log" 2>&1 &
    service=$!
    for _ in $(seq 100); do
        if curl -fsS "$VOUCHSAFE_PUBLIC_ORIGIN/readyz" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    cat "$2/service.log" >&2
    exit 1
}

failed=0
for database in ${DATABASES:-sqlite postgres}; do
    data=$work/$database
    mkdir "$data"
    case $database in
    sqlite) url=sqlite:$data/store.db ;;
    postgres) url=$(sh "$root/.ci/postgres.sh" start "$work/pg") ;;
    *) echo "no database \`$database\`" >&2; exit 64 ;;
    esac
    start_service "$url" "$data"
    for role in "${roles[@]}"; do
        # Each role finds the world anew: what an earlier one suspended or withdrew does not narrow what it reaches.
        VOUCHSAFE_BIN=$VOUCHSAFE_BIN python3 "$here/schemathesis.py" "$root/fixtures" "$data" "$role"
        header=$(cat "$data/$role.header")
        echo "== $database, $role"
        cp "$here/schemathesis.py" "$data/schemathesis_hooks.py"
        # An answer without end ends no request.
        except=(--exclude-path /gateway/events)
        # Who signed out would be asked for nothing but a token from there on.
        if [ "$role" = reviewer ]; then except+=(--exclude-path /v1/operators/logout); fi
        # `positive_data_acceptance` would want a schema for every rule of meaning: that a day exists and has come, that
        # a source is registered, that a policy in TOML can be met by somebody. No schema can say these.
        (cd "$data" && KNOWN=$data/$role.known SCHEMATHESIS_HOOKS=schemathesis_hooks \
            "$clients/schemathesis/bin/st" --config-file "$here/schemathesis.toml" run "$VOUCHSAFE_PUBLIC_ORIGIN/openapi.json" --header "$header" \
            "${except[@]}" ${ONLY:+--include-path-regex "$ONLY"} \
            --checks all --exclude-checks "${EXCLUDE:-positive_data_acceptance}" --max-examples "${EXAMPLES:-20}" \
            --phases examples,coverage,fuzzing --seed 1 --workers 1 --request-timeout 20 --continue-on-failure \
            --no-color --warnings off --suppress-health-check filter_too_much >"$data/$role.log" 2>&1) || { failed=1; cat "$data/$role.log"; }
        grep -E 'generated,|skipped' "$data/$role.log" | tail -n 1
        cat "$data/$role.answers"
        if [ -n "${LOGS:-}" ]; then mkdir -p "$LOGS" && cp "$data/$role.log" "$LOGS/$database-$role.log"; fi
    done
    stop_service
    if grep -E '"?level"?[=:] *"?ERROR| ERROR ' "$data/service.log"; then
        echo "the service logged an error on $database" >&2
        failed=1
    fi
done
exit $failed
