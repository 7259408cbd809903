# Sourced by scripts that ask the demo: a folder `$work` and processes `$pids` that end with the script, checks that are counted,
# and what the demo said of itself. Needs bash, curl and python3; `$root` is the project's folder.
for tool in curl python3 ${needs:-}; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

passed=0 failed=0 skipped=0
pass() { passed=$((passed + 1)); echo "ok    $1"; }
fail() { failed=$((failed + 1)); echo "FAIL  $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "skip  $1: $2"; }
# check NAME WANTED FOUND
check() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted \`$2\`, found \`$3\`"; fi; }
wait_for() { # SECONDS COMMAND…
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "gave up waiting for: $*" >&2; cat "$work"/*.log >&2; exit 1; }
        sleep 0.1
    done
}
# One member of a JSON document on standard input, by path.
member() { python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]: value = value[name]
print(value)' "$@"; }

# The service to ask: VOUCHSAFE_BIN, else a debug build.
built() {
    if [ -z "${VOUCHSAFE_BIN:-}" ]; then
        (cd "$root" && cargo build --quiet)
        VOUCHSAFE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/vouchsafe
    fi
}
# start_demo COMMAND-BEFORE…: the demo, perhaps under another command; `$service` is its process, `$url` its address.
start_demo() {
    TMPDIR=$work "$@" "$VOUCHSAFE_BIN" demo --listen 127.0.0.1:0 ${demo_options:-} --json >"$work/demo.json" 2>"$work/demo.log" &
    service=$!
    pids+=("$service")
    wait_for 60 test -s "$work/demo.json"
    url=$(demo url)
}
demo() { member "$@" <"$work/demo.json"; }
access_token() { # CLIENT
    curl -fs "$url/oauth2/token" -u "$(demo clients "$1" client_id):$(demo clients "$1" client_secret)" \
        -d grant_type=client_credentials | member access_token
}
eligibility_token() { # SUBJECT RESOURCE [AUDIENCE], asked for by the client whose token `$onboarding` is
    curl -fs "$url/v1/subjects/$(demo subjects "$1" id)/tokens" -H "Authorization: Bearer $onboarding" \
        -H 'Content-Type: application/json' -d "{\"resource\":\"$2\",\"audience\":\"${3:-edge}\"}" | member token
}
free_port() { python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
