#!/usr/bin/env bash
# Boots a Debian of its own (debootstrap, namespaces, no daemon) with systemd as process 1, installs examples/systemd in
# it as docs/deployment.md says, and looks at the service from inside and outside.
# Needs root, apt, a mounted cgroup2 and a program that runs on Debian 12; VOUCHSAFE_BIN names it, else it is built.
# WORK keeps the Debian between runs (2 minutes the first time, then 15 s), a temporary folder unless set.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 69; }
if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap
fi
groups=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
[ -n "$groups" ] || { echo "needs a mounted cgroup2" >&2; exit 69; }
if [ -z "${VOUCHSAFE_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet)
    VOUCHSAFE_BIN=${CARGO_TARGET_DIR:-$root/target}/debug/vouchsafe
fi

keep=${WORK:-}
work=${WORK:-$(mktemp -d /var/tmp/vouchsafe-systemd.XXXXXX)}
mkdir -p "$work"
group=$groups/vouchsafe-test-$$
machine=
cleanup() {
    if [ -n "$machine" ]; then
        kill -KILL "$machine" 2>/dev/null || true
        wait "$machine" 2>/dev/null || true
    fi
    # Deepest first; only what this run made.
    if [ -d "$group" ]; then
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [ -d "$group" ] || break
            sleep 0.1
        done
    fi
    rm -rf "$work/run"
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

if [ ! -e "$work/debian/complete" ]; then
    rm -rf "$work/debian"
    mirror=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    debootstrap --variant=minbase --include=systemd,dbus,ca-certificates,curl bookworm "$work/debian" \
        ${mirror:+"$mirror"} >"$work/debootstrap.log"
    touch "$work/debian/complete"
fi
rm -rf "$work/run"
mkdir -p "$work/run/upper" "$work/run/overlay" "$work/run/root"

# A group of our own, whose root the machine sees as its whole tree.
mkdir "$group"
(
    echo "$BASHPID" >"$group/cgroup.procs"
    # shellcheck disable=SC2016  # expanded inside
    exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child bash -euc '
        work=$1 new=$1/run/root
        mount --make-rprivate /
        mount -t overlay -o "lowerdir=$work/debian,upperdir=$work/run/upper,workdir=$work/run/overlay" overlay "$new"
        mount -t proc proc "$new/proc"
        mount -t sysfs -o ro sysfs "$new/sys"
        mount -t cgroup2 cgroup2 "$new/sys/fs/cgroup"
        mount -t tmpfs -o mode=755 tmpfs "$new/run"
        mount -t tmpfs -o mode=755 tmpfs "$new/dev"
        for device in null zero full random urandom tty; do
            touch "$new/dev/$device" && mount --bind "/dev/$device" "$new/dev/$device"
        done
        mkdir "$new/dev/pts" "$new/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$new/dev/pts"
        ln -s pts/ptmx "$new/dev/ptmx"
        mount -t tmpfs tmpfs "$new/dev/shm"
        cd "$new" && mkdir old && pivot_root . old && umount -l /old && cd /
        # As it would be at a real boot: credentials are mounted elsewhere first and reach services by propagation.
        mount --make-rshared /
        exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd systemd.unit=multi-user.target
    ' boot "$work" </dev/null >"$work/boot.log" 2>&1
) &
machine=$!
init=
for _ in $(seq 100); do
    init=$(pgrep -P "$machine" -x systemd || true)
    [ -z "$init" ] || break
    sleep 0.1
done
[ -n "$init" ] || { cat "$work/boot.log" >&2; echo "systemd did not start" >&2; exit 1; }
inside() { nsenter --target "$init" --mount --pid --ipc --uts --net --cgroup --root --wd=/ -- "$@"; }
for _ in $(seq 300); do
    state=$(inside systemctl is-system-running 2>/dev/null || true)
    case $state in running | degraded) break ;; esac
    sleep 0.1
done
check "the machine is up" yes "$(case $state in running | degraded) echo yes ;; *) echo "$state" ;; esac)"
inside ip link set lo up 2>/dev/null || nsenter --target "$init" --net ip link set lo up

# As docs/deployment.md says.
inside install -m 0755 /dev/stdin /usr/local/bin/vouchsafe <"$VOUCHSAFE_BIN"
inside install -m 0755 /dev/stdin /usr/local/sbin/vouchsafe-admin <"$root/examples/systemd/vouchsafe-admin"
inside install -m 0644 /dev/stdin /etc/systemd/system/vouchsafe.service <"$root/examples/systemd/vouchsafe.service"
inside install -d -m 0700 /etc/vouchsafe
inside vouchsafe keys master /etc/vouchsafe/master.key
inside install -m 0600 /dev/stdin /etc/vouchsafe/environment <<<'VOUCHSAFE_PUBLIC_ORIGIN=https://eligibility.example'
check "systemd-analyze verify has nothing to say" "" "$(inside systemd-analyze verify /etc/systemd/system/vouchsafe.service 2>&1)"
exposure=$(inside systemd-analyze security --offline=true --no-pager /etc/systemd/system/vouchsafe.service | tail -n 1 |
    sed -n 's/.*: \([0-9.]*\) .*/\1/p')
check "the exposure that systemd-analyze counts is 1.2 of 10 at most (it is $exposure)" yes \
    "$(awk -v e="$exposure" 'BEGIN { print (e != "" && e <= 1.2 ? "yes" : "no") }')"
inside systemctl daemon-reload
inside systemctl enable --quiet --now vouchsafe
ready() {
    for _ in $(seq 100); do
        ! inside vouchsafe ready >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    inside journalctl --no-pager -u vouchsafe -n 20 >&2
    return 1
}
check "it starts and is ready" yes "$(ready && echo yes || echo no)"
show() { inside systemctl show --value -p "$1" vouchsafe; }
# The process as this side sees it.
process() { pgrep -f '^/usr/local/bin/vouchsafe serve$' --ns "$init" --nslist pid; }
field() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$(process)/status"; }
check "its user is none of the system's" yes "$([ "$(field Uid)" -ge 61184 ] && [ "$(field Uid)" -le 65519 ] && echo yes || field Uid)"
check "no capability" "0000000000000000 0000000000000000" "$(field CapEff) $(field CapBnd)"
check "no new privileges, system calls filtered" "1 2" "$(field NoNewPrivs) $(field Seccomp)"
credential=/run/credentials/vouchsafe.service/master.key
echo "# the credential: mode $(inside stat -c '%a of %U' $credential)"
check "others cannot read the credential" yes "$(inside setpriv --reuid=65534 --regid=65534 --clear-groups cat $credential >/dev/null 2>&1 && echo no || echo yes)"
mounted() { nsenter --target "$(process)" --mount --root env -C / sh -c "$1" 2>&1 | sed 's/.*: //'; }
check "it cannot write beside its state" "Read-only file system" "$(mounted 'touch /usr/local/bin/x')"
check "/home is empty to it" "" "$(mounted 'ls -A /home')"

made=$(inside vouchsafe-admin client create --json --name onboarding --owner Ola --scope subjects:write)
id=$(sed 's/.*"client_id":"\([^"]*\)".*/\1/' <<<"$made")
secret=$(sed 's/.*"client_secret":"\([^"]*\)".*/\1/' <<<"$made")
access() { inside curl -s -m 5 http://127.0.0.1:8080/oauth2/token -u "$id:$secret" -d grant_type=client_credentials | sed 's/.*"access_token":"\([^"]*\)".*/\1/'; }
create() { inside curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1:8080/v1/subjects \
    -H "Authorization: Bearer $(access)" -H 'Content-Type: application/json' -d '{"kind":"person","external_id":"first"}'; }
for _ in $(seq 20); do # a client made beside it is known within a second
    [ "$(access | wc -c)" -lt 100 ] || break
    sleep 0.2
done
check "a client made beside it works" 201 "$(create)"
check "every file of it is its own" "$(field Uid)" "$(inside find /var/lib/private/vouchsafe -printf '%U\n' | sort -u)"
first=$(process)
kill -KILL "$first"
for _ in $(seq 50); do [ "$(process || true)" = "" ] || [ "$(process)" = "$first" ] || break; sleep 0.1; done
check "killed, it is started again" yes "$(ready && [ "$(process)" != "$first" ] && echo yes || echo no)"
check "and has kept what it acknowledged" 409 "$(create)"
inside systemctl stop vouchsafe
check "told to stop, it ends in order" "inactive success" "$(show ActiveState) $(show Result)"
inside chmod 0444 /etc/vouchsafe/master.key
inside systemctl start vouchsafe
check "a copy lent by systemd is private whatever the original is" yes "$(ready && echo yes || echo no)"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
