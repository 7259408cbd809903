#!/usr/bin/env bash
# The long crash tests; docs/operations.md says what they prove and how long they take.
#   crash.sh kills sqlite|postgres [N]   N kills under load (100)
#   crash.sh two [N]                     N kills of two processes on one SQLite file (100)
#   crash.sh stop [N]                    N immediate stops of a PostgreSQL server under load (100)
#   crash.sh syscalls [STRIDE]           every STRIDE-th write call (1) killed, failed with EIO, with ENOSPC
#   crash.sh disk                        full, read-only and failing disks; needs root
# VOUCHSAFE_CRASH_SEED repeats a run; VOUCHSAFE_BIN names a built binary, else the debug one is tested.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
usage() { sed -n '2,8s/^# *//p' "$0" >&2; exit 64; }
needs() { command -v "$1" >/dev/null || { echo "needs $1" >&2; exit 69; }; }
run() { cargo test --locked --test it -- --ignored --nocapture --test-threads=1 "$@"; }

case "${1:-} ${2:-}" in
"kills sqlite" | "kills postgres")
    export VOUCHSAFE_CRASH_KILLS=${3:-100}
    run "crash::long_kills_on_$2"
    ;;
two\ *)
    export VOUCHSAFE_CRASH_KILLS=${2:-100}
    run crash::long_kills_of_two_on_sqlite
    ;;
stop\ *)
    export VOUCHSAFE_CRASH_KILLS=${2:-100}
    run crash::long_stops_of_postgres
    ;;
syscalls\ *)
    needs strace
    export VOUCHSAFE_CRASH_STRIDE=${2:-1}
    run crash::syscalls
    ;;
"disk ")
    needs strace
    needs unshare
    # Mounts made here are seen by nobody else and end with it.
    export -f run
    unshare -m bash -euc 'run crash::disk'
    ;;
*) usage ;;
esac
