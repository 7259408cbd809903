#!/usr/bin/env bash
# Builds the Dockerfile without a daemon and runs what comes out as a container would: its own user, entry point and
# environment, process 1 of its own, a root file system mounted read-only, one volume, secrets as files. First on SQLite,
# then on a PostgreSQL that asks for a password.
# Needs root, Debian's apt and the pinned Rust toolchain. The images in the FROM lines are stood in for by debootstrap
# (and that toolchain), so this proves the steps, not the size of the real base. About 3 minutes and one release build;
# WORK keeps bases and objects between runs, a temporary folder unless set. VOUCHSAFE_BIN names a program built for
# Debian 12: it then takes the place of the first stage, for a quick look at the second and at how it runs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 69; }
need=()
command -v buildah >/dev/null || need+=(buildah)
command -v debootstrap >/dev/null || need+=(debootstrap)
command -v curl >/dev/null || need+=(curl)
command -v setfacl >/dev/null || need+=(acl)
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need+=(postgresql)
if [ ${#need[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}"
fi

keep=${WORK:-}
work=${WORK:-$(mktemp -d /var/tmp/vouchsafe-image.XXXXXX)}
mkdir -p "$work"
chmod 711 "$work"
run=$(mktemp -d "$work/run.XXXXXX")
chmod 711 "$run"
inits=()
cleanup() {
    for pid in "${inits[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    [ ! -d "$run/postgres" ] || stop_postgres immediate || true
    [ -z "${container:-}" ] || { buildah_ umount "$container" && buildah_ rm "$container"; } >/dev/null 2>&1 || true
    rm -rf "$run"
    [ -n "$keep" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

passed=0 failed=0
check() { # NAME WANTED FOUND
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1)) && echo "ok    $1"
    else
        failed=$((failed + 1)) && echo "FAIL  $1: wanted \`$2\`, found \`$3\`"
    fi
}
buildah_() { buildah --root "$work/storage" --runroot "$work/runroot" --storage-driver vfs "$@"; }
build() { buildah_ bud --isolation chroot --format docker "$@"; }

# The bases. `docker.io/library/` is what a plain name in a FROM line means.
runtime_base=$(sed -n 's/^FROM \(debian:[^ ]*\)$/\1/p' "$root/Dockerfile")
build_base=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' "$root/Dockerfile")
pinned=$(sed -n 's/^channel = "\(.*\)"$/\1/p' "$root/rust-toolchain.toml")
check "the builder is the pinned toolchain" "rust:$pinned-bookworm" "$build_base"
if ! buildah_ inspect "docker.io/library/$runtime_base" >/dev/null 2>&1; then
    mkdir -p "$work/base"
    mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    [ -x "$work/base/rootfs/usr/bin/dpkg" ] ||
        debootstrap --variant=minbase bookworm "$work/base/rootfs" ${mirror:+"$mirror"} >"$work/debootstrap.log"
    # What makes a package source or a proxy of this machine trusted is needed inside as well.
    mkdir -p "$work/base/rootfs/etc/apt/apt.conf.d"
    cp -rT /etc/apt/apt.conf.d "$work/base/rootfs/etc/apt/apt.conf.d"
    tar -C "$work/base/rootfs" -cf "$work/base/base.tar" .
    printf 'FROM scratch\nADD base.tar /\n' >"$work/base/Dockerfile"
    build -q -t "docker.io/library/$runtime_base" "$work/base" >/dev/null
    rm "$work/base/base.tar"
fi
if [ -z "${VOUCHSAFE_BIN:-}" ] && ! buildah_ inspect "docker.io/library/$build_base" >/dev/null 2>&1; then
    mkdir -p "$work/rust"
    sysroot=$(cd "$root" && rustc --print sysroot)
    tar -C "$sysroot" -cf "$work/rust/toolchain.tar" --exclude=share/doc bin lib
    cp /etc/ssl/certs/ca-certificates.crt "$work/rust/authorities.crt"
    cat >"$work/rust/Dockerfile" <<STANDIN
FROM docker.io/library/$runtime_base
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ libc6-dev make ca-certificates && rm -rf /var/lib/apt/lists/*
ADD toolchain.tar /usr/local
COPY authorities.crt /etc/ssl/certs/ca-certificates.crt
ENV CARGO_HOME=/usr/local/cargo
STANDIN
    build -q -t "docker.io/library/$build_base" "$work/rust" >/dev/null
    rm "$work/rust/toolchain.tar"
fi

began=$SECONDS context=$root tag=vouchsafe:test
if [ -n "${VOUCHSAFE_BIN:-}" ]; then
    context=$run/context tag=vouchsafe:given
    mkdir "$context"
    cp "$VOUCHSAFE_BIN" "$context/vouchsafe"
    cp "$root/LICENSE" "$context/LICENSE"
    { printf 'FROM %s AS build\nCOPY vouchsafe /out/vouchsafe\n' "$runtime_base"; sed -n "/^FROM debian/,\$p" "$root/Dockerfile"; } >"$context/Dockerfile"
    echo "# the first stage is not tried: VOUCHSAFE_BIN takes its place"
fi
# One layer a stage: vfs copies the whole of what is below for each.
(cd "$context" && build --layers=false --pull-never -t "$tag" .) >"$run/build.log" 2>&1 ||
    { tail -n 40 "$run/build.log" >&2; exit 1; }
echo "# built in $((SECONDS - began)) s"

# What the image says of itself.
inspect() { buildah_ inspect --type image --format "{{$1}}" "$tag"; }
check "the user is 10001" 10001:10001 "$(inspect .Docker.Config.User)"
check "one volume" 'map[/var/lib/vouchsafe:{}]' "$(inspect .Docker.Config.Volumes)"
check "the health check needs no shell" '[CMD vouchsafe ready]' "$(inspect .Docker.Config.Healthcheck.Test)"
check "entry point and command" '[vouchsafe] [serve]' "$(inspect .Docker.Config.Entrypoint) $(inspect .Docker.Config.Cmd)"
check "it is told to stop by SIGTERM" SIGTERM "$(inspect .Docker.Config.StopSignal)"
mapfile -t environment < <(inspect 'range .Docker.Config.Env}}{{println .}}{{end' | sed '/^$/d')
container=$(buildah_ from --pull-never "$tag")
image=$(buildah_ mount "$container")
check "no compiler and no source in it" "" "$(ls -d "$image"/usr/bin/gcc "$image"/usr/local/bin/cargo "$image"/source 2>/dev/null)"
check "nothing of the build is set-uid beyond Debian's own" "" \
    "$(find "$image/usr/local" "$image/var/lib/vouchsafe" -perm /6000)"
echo "# $(du -sm "$image" | cut -f1) MiB in all, the program $(du -sm "$image/usr/local/bin/vouchsafe" | cut -f1) MiB"

# inside NAME ARGUMENTS…: the image's program in namespaces of its own, root read-only, as the image's user. NAME has
# folders `volume` and `secrets` under $run.
inside() { (exec_inside "$@"); }
exec_inside() {
    local name=$1
    shift
    # shellcheck disable=SC2016  # expanded inside
    exec unshare --mount --pid --fork --kill-child sh -euc '
        image=$1 state=$2 && shift 2
        mount --make-rprivate /
        mount --bind "$image" "$image"
        mount -t proc proc "$image/proc"
        mount -t tmpfs -o mode=755 tmpfs "$image/dev"
        for device in null zero random urandom; do
            touch "$image/dev/$device" && mount --bind "/dev/$device" "$image/dev/$device"
        done
        mount -t tmpfs -o mode=755 tmpfs "$image/run"
        mkdir "$image/run/secrets" && mount --bind "$state/secrets" "$image/run/secrets"
        mount -o remount,bind,ro "$image/run/secrets"
        mount --bind "$state/volume" "$image/var/lib/vouchsafe"
        mount -o remount,ro "$image/run"
        mount -o remount,ro "$image/dev"
        mount -o remount,bind,ro "$image"
        exec setpriv --no-new-privs chroot --userspec=10001:10001 --groups= "$image" "$@"
    ' inside "$image" "$run/$name" /usr/bin/env -i -C /var/lib/vouchsafe "${environment[@]}" \
        "${ports[@]}" VOUCHSAFE_PUBLIC_ORIGIN=https://eligibility.example "${more[@]}" "$@"
}
free_port() { python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
# The image listens on its usual ports on all addresses; here they are others and on loopback.
public=$(free_port) admin=$(free_port)
ports=(VOUCHSAFE_LISTEN="127.0.0.1:$public" VOUCHSAFE_ADMIN_LISTEN="127.0.0.1:$admin")
more=()
exit_of() { "$@" >"$run/out" 2>&1 && echo 0 || echo $?; }
state() { # NAME: a volume and secrets of the image's user
    install -d -m 755 "$run/$1" "$run/$1/secrets"
    install -d -m 700 -o 10001 -g 10001 "$run/$1/volume"
    head -c 32 /dev/urandom >"$run/key"
    install -m 0400 -o 10001 -g 10001 "$run/key" "$run/$1/secrets/vouchsafe_master_key"
    rm "$run/key"
}
wait_ready() {
    for _ in $(seq 100); do
        [ "$(exit_of inside "$1" vouchsafe ready)" != 0 ] || return 0
        sleep 0.2
    done
    return 1
}
# serve NAME: starts the image's own command; $service is the process as seen from outside.
serve() {
    exec_inside "$1" vouchsafe serve >"$run/$1.log" 2>&1 &
    inits+=($!)
    wait_ready "$1" || { cat "$run/$1.log" >&2; exit 1; }
    service=$(pgrep -P "${inits[-1]}")
}
status() { curl -s -m 5 -o /dev/null -w '%{http_code}' "$@" || true; }
# token NAME: an access token of a client made at the command line in the image
story() {
    local name=$1 made id secret
    made=$(inside "$name" vouchsafe client create --json --name onboarding --owner Ola --scope subjects:write --scope subjects:read)
    id=$(sed 's/.*"client_id":"\([^"]*\)".*/\1/' <<<"$made")
    secret=$(sed 's/.*"client_secret":"\([^"]*\)".*/\1/' <<<"$made")
    serve "$name"
    check "$name: ready by HTTP" 200 "$(status "http://127.0.0.1:$admin/readyz")"
    check "$name: the health check passes" 0 "$(exit_of inside "$name" vouchsafe ready)"
    check "$name: not root" 10001 "$(awk '/^Uid:/ { print $2 }' "/proc/$service/status")"
    check "$name: no capability" 0000000000000000 "$(awk '/^CapEff:/ { print $2 }' "/proc/$service/status")"
    check "$name: process 1 of its own" 1 "$(awk '/^NSpid:/ { print $NF }' "/proc/$service/status")"
    access=$(curl -s -m 5 "http://127.0.0.1:$public/oauth2/token" -u "$id:$secret" -d grant_type=client_credentials |
        sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    check "$name: it writes" 201 "$(status "http://127.0.0.1:$public/v1/subjects" -H "Authorization: Bearer $access" \
        -H 'Content-Type: application/json' -d '{"kind":"person","external_id":"first"}')"
}
stop() { # NAME: SIGTERM to process 1
    local began=$SECONDS code
    kill -TERM "$service"
    wait "${inits[-1]}" && code=0 || code=$?
    unset 'inits[-1]'
    check "$1: SIGTERM ends it in order" "0 quickly" "$code $([ $((SECONDS - began)) -lt 10 ] && echo quickly || echo slowly)"
    check "$1: the health check fails when nobody listens" 1 "$(exit_of inside "$1" vouchsafe ready)"
}

echo "# SQLite in the volume"
state sqlite
check "the root file system cannot be written" "Read-only file system" \
    "$(inside sqlite touch /etc/x 2>&1 | sed 's/.*: //')"
check "neither can /tmp" "Read-only file system" "$(inside sqlite touch /tmp/x 2>&1 | sed 's/.*: //')"
check "the program starts" 0 "$(exit_of inside sqlite vouchsafe --version)"
key=$run/sqlite/secrets/vouchsafe_master_key
new_client=(vouchsafe client create --name other --owner Ola --scope subjects:read)
for mode in 0444 0440 0600; do
    chmod "$mode" "$key"
    check "a key of ours of mode $mode is refused" 1 "$(exit_of inside sqlite "${new_client[@]}")"
done
chown root "$key" && chmod 0400 "$key" && setfacl -m u:10001:r "$key"
check "one that root lends by an access list has mode 440" 440 "$(stat -c %a "$key")"
check "and is taken" 0 "$(exit_of inside sqlite "${new_client[@]}")"
setfacl -b "$key" && chmod 0440 "$key"
check "one that root lends to our group is taken" 0 "$(exit_of inside sqlite "${new_client[@]}")"
chgrp root "$key"
check "one that is not lent cannot be read" 1 "$(exit_of inside sqlite "${new_client[@]}")"
chown 10001:10001 "$key" && chmod 0400 "$key"
story sqlite
kill -STOP "$service"
check "the health check fails when it hangs" 1 "$(exit_of inside sqlite vouchsafe ready)"
kill -CONT "$service"
check "and passes again" 0 "$(exit_of inside sqlite vouchsafe ready)"
stop sqlite
check "all it wrote is in the volume" "anchor vouchsafe.db" "$(cd "$run/sqlite/volume" && ls | sed 's/-wal$//;s/-shm$//' | sort -u | tr '\n' ' ' | sed 's/ $//')"
serve sqlite
check "after a restart it is all there" 409 "$(status "http://127.0.0.1:$public/v1/subjects" -H "Authorization: Bearer $access" \
    -H 'Content-Type: application/json' -d '{"kind":"person","external_id":"first"}')"
stop sqlite

echo "# PostgreSQL with a password from a file"
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
postgres_() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent "$@"; }
start_postgres() { (cd "$run/postgres" && postgres_ "$bin/pg_ctl" -D data -l log -w -o "-k $run/postgres -h 127.0.0.1 -p $port" start) >/dev/null; }
stop_postgres() { (cd "$run/postgres" && postgres_ "$bin/pg_ctl" -D data -m "$1" stop) >/dev/null; }
port=$(free_port)
password=$(head -c 18 /dev/urandom | base64 | tr '+/' 'ab')
install -d -o 65534 -g 65534 "$run/postgres"
install -m 0400 -o 65534 /dev/stdin "$run/postgres/password" <<<"$password"
(cd "$run/postgres" && postgres_ "$bin/initdb" -D data -U vouchsafe -A scram-sha-256 --pwfile=password -E UTF8 --locale=C) >/dev/null
start_postgres
state postgresql
more=(VOUCHSAFE_DATABASE="postgres://vouchsafe@127.0.0.1:$port/postgres" PGPASSFILE=/run/secrets/pgpass)
check "without the password the database refuses" 1 "$(exit_of inside postgresql vouchsafe migrate)"
install -m 0400 -o 10001 /dev/stdin "$run/postgresql/secrets/pgpass" <<<"127.0.0.1:$port:postgres:vouchsafe:$password"
story postgresql
stop_postgres fast
check "the health check fails without the database" 1 "$(exit_of inside postgresql vouchsafe ready)"
start_postgres
wait_ready postgresql && again=yes || again=no
check "and passes when it is back" yes "$again"
stop postgresql
check "nothing but the anchor was written in the volume" anchor "$(ls -A "$run/postgresql/volume")"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
