#!/bin/sh
# A private PostgreSQL server for tests: unix socket only, an unprivileged user, nothing durable unless
# VOUCHSAFE_PG_DURABLE is set.
#   postgres.sh start [DIR]   starts it in DIR and prints the URL (VOUCHSAFE_TEST_POSTGRES)
#   postgres.sh stop [DIR]    stops it and removes DIR
#   postgres.sh standby OF DIR  starts a streaming standby of the server in OF in DIR and prints its URL
#   postgres.sh crash [DIR]   stops it at once, without a checkpoint, and starts it again
#   postgres.sh run           starts one in a new directory, prints the URL, stops when standard input ends
set -eu

bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -x "$bin/postgres" ] || { echo "no PostgreSQL server under /usr/lib/postgresql" >&2; exit 69; }

# initdb and postgres refuse to run as root.
if [ "$(id -u)" = 0 ]; then
    as_user() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$@"; }
else
    as_user() { "$@"; }
fi

start() {
    mkdir -p "$1/sock"
    chmod 755 "$1"
    if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$1"; fi
    cd "$1"
    as_user "$bin/initdb" -D "$1/data" -U vouchsafe -A trust --no-sync -E UTF8 --locale=C >"$1/initdb.log" 2>&1
    up "$1"
    echo "postgres://vouchsafe@localhost/postgres?host=$1/sock"
}

standby() {
    mkdir -p "$2/sock"
    chmod 755 "$2"
    if [ "$(id -u)" = 0 ]; then chown -R 65534:65534 "$2"; fi
    cd "$2"
    as_user "$bin/pg_basebackup" -h "$1/sock" -U vouchsafe -D "$2/data" -R -c fast --no-sync >"$2/basebackup.log" 2>&1
    as_user "$bin/pg_ctl" -D "$2/data" -l "$2/server.log" -w -o "-k $2/sock -c listen_addresses='' -c fsync=off \
        -c full_page_writes=off -c max_connections=400 -c shared_buffers=64MB" start >/dev/null
    echo "postgres://vouchsafe@localhost/postgres?host=$2/sock"
}

up() {
    keeps="-c fsync=off -c full_page_writes=off"
    if [ -n "${VOUCHSAFE_PG_DURABLE:-}" ]; then keeps="-c fsync=on"; fi
    as_user "$bin/pg_ctl" -D "$1/data" -l "$1/server.log" -w -o "-k $1/sock -c listen_addresses='' $keeps \
        -c max_connections=400 -c shared_buffers=64MB" start >/dev/null
}

stop() {
    cd /
    as_user "$bin/pg_ctl" -D "$1/data" -m immediate stop >/dev/null || true
    rm -rf "$1"
}

dir=${2:-${TMPDIR:-/tmp}/vouchsafe-pg}
case "${1:-}" in
start) start "$dir" ;;
stop) stop "$dir" ;;
standby) standby "$dir" "$3" ;;
crash)
    cd "$dir"
    as_user "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null
    up "$dir"
    ;;
run)
    dir=$(mktemp -d "${TMPDIR:-/tmp}/vouchsafe-pg.XXXXXX")
    trap : INT TERM HUP
    start "$dir"
    exec >/dev/null
    cat || true
    stop "$dir"
    ;;
*) echo "usage: postgres.sh start|stop|crash [DIR] | standby OF DIR | run" >&2; exit 64 ;;
esac
