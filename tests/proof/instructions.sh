#!/usr/bin/env bash
# Instructions of one status (six items, three criteria) and of one search for the second of its change, counted by callgrind as
# the difference between a thousand and two thousand of them. Unlike a time the count is the same on a busy machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v valgrind >/dev/null || { echo "needs valgrind" >&2; exit 69; }
bench=$(cargo bench --locked -p vouchsafe-core --bench status --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/status-[^"]*\)".*/\1/p' | tail -n 1)
[ -n "$bench" ] || { echo "the bench was not built" >&2; exit 1; }
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
for what in status expiry; do
    once=$(count "$what" 1000)
    twice=$(count "$what" 2000)
    echo "$what: $(((twice - once) / 1000)) instructions"
done
