#!/usr/bin/env bash
# Does what README.md and docs/*.md say, in a fresh clone of HEAD: every block fenced as `sh` is run as it stands, in
# order, one shell a file, and fails the run if one of its commands fails. Two markers, both visible in the source:
#   ```sh serves   the last command goes on (a service); it is waited for, and ended by the next such block or the file
#   ```console     needs what a test machine has not (Docker, root's services); not run, but counted in the summary
# Behind `cargo run -- demo` the five lines it prints are run as printed and their answers looked at.
# Needs git, curl, python3, the toolchain, and ports 8080 and 9090 free. One debug build (about 2 minutes on two free
# cores) and half a minute; FILES names files to run instead of all, LIMIT the seconds for one file (3600).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
for tool in git curl python3 cargo; do
    command -v "$tool" >/dev/null || { echo "needs $tool" >&2; exit 69; }
done
python3 - <<'PY'
import socket, sys
for port in (8080, 9090):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try: s.bind(("127.0.0.1", port))
        except OSError: sys.exit(f"port {port} is in use; the documents' commands listen there")
PY
if [ -n "$(git -C "$root" status --porcelain)" ]; then
    echo "# what is not committed is not tried" >&2
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/vouchsafe-docs.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# Nothing of this shell's own configuration helps or harms.
for name in $(compgen -e | grep '^VOUCHSAFE_' || true); do unset "$name"; done
unset CARGO_TARGET_DIR
began=$(date +%s%N)
export DOCS_BEGAN=$began DOCS_WORK=$work
git clone --quiet --no-hardlinks "$root" "$work/clone"
cd "$work/clone"
export PATH=$PWD/target/debug:$PATH

cat >"$work/lib.sh" <<'SH'
set -euo pipefail
service=
seconds_since() { python3 -c 'import sys, time; print(f"{time.time() - int(sys.argv[1]) / 1e9:.1f}")' "$1"; }
stop_service() {
    [ -n "$service" ] || return 0
    kill -TERM "$service" 2>/dev/null || true
    local code=0
    wait "$service" || code=$?
    service=
    [ "$code" -eq 0 ] || { echo "FAIL  the service of this block ended with $code" >&2; exit 1; }
}
trap 'code=$?; [ -z "$service" ] || kill -KILL "$service" 2>/dev/null || true
      [ "$code" -eq 0 ] || echo "FAIL  $block: a command failed with $code" >&2' EXIT
# serves COMMAND: runs it in the background and waits until it answers.
serves() {
    stop_service
    local from log=$DOCS_WORK/service.log
    from=$(date +%s%N)
    bash -c "exec $1" >"$log" 2>"$log.err" &
    service=$!
    while :; do
        kill -0 "$service" 2>/dev/null || { cat "$log" "$log.err" >&2; echo "FAIL  \`$1\` ended at once" >&2; exit 1; }
        case $1 in
            *" demo"*) ! grep -qs '^The access tokens' "$log" || break ;;
            *) ! vouchsafe ready >/dev/null 2>&1 || break ;;
        esac
        sleep 0.1
    done
    case $1 in *" demo"*) demo_lines "$log" "$from" ;; esac
}
# demo_lines LOG STARTED: the lines as printed, in one shell, each answer in a file.
demo_lines() {
    local folder=$DOCS_WORK/answers
    mkdir -p "$folder"
    grep -E '^(curl|TOKEN=)' "$1" >"$folder/lines"
    [ "$(wc -l <"$folder/lines")" -eq 5 ] || { echo "FAIL  the demo prints no five lines" >&2; exit 1; }
    local n=0 line
    while IFS= read -r line; do
        n=$((n + 1))
        printf '{ %s; } >%q\n[ %d != 1 ] || seconds_since %s >%q\n[ %d != 3 ] || seconds_since %s >%q\n' \
            "$line" "$folder/$n" "$n" "$2" "$folder/no" "$n" "$2" "$folder/yes"
    done <"$folder/lines" >"$folder/script"
    # shellcheck source=/dev/null
    . "$folder/script"
    python3 - "$folder" <<'PY'
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
text = lambda n: (folder / str(n)).read_text()
def check(what, holds, shown):
    if not holds:
        sys.exit(f"FAIL  {what}: {shown}")
    print(f"ok    {what}")
no, yes = json.loads(text(1)), json.loads(text(3))
check("1. a refusal", no["status"] == "insufficient" and no["confidence"] is None, no)
steps = json.dumps(no["next_steps"])
check("   that says what would help", "us_status" in steps and "identity" in steps, steps)
check("2. the evidence is recorded", text(2).count('"recorded"') == 2 or text(2).count("recorded") == 2, text(2))
check("3. eligible", yes["status"] == "eligible", yes)
check("   with confidence and expiry", 0 < yes["confidence"] <= 1 and yes["expires_at"] > yes["at"], yes)
check("4. a signed token", [len(part) > 20 for part in text(4).strip().split(".")] == [True] * 3, text(4))
head = text(5).splitlines()
check("5. the gateway says yes", head[0].startswith("HTTP/1.1 200"), head[0])
check("   for the same decision", any(line.lower() == f"x-eligibility-decision: {yes['id']}".lower() for line in head), head)
PY
    echo "#     to the first no, with why, $(cat "$folder/no") s after the command; to the first yes $(cat "$folder/yes") s; $(seconds_since "$DOCS_BEGAN") s since the clone"
}
SH

# extract FILE: its blocks as one script, and on standard error what is not run.
cat >"$work/extract.py" <<'PY'
import re, shlex, sys
name = sys.argv[1]
blocks, fence = [], None
for number, line in enumerate(open(name, encoding="utf-8"), 1):
    opened = re.match(r"^( *)(`{3,})(.*)$", line)
    if fence is None and opened:
        fence = (opened[2], opened[3].split(), number, [], len(opened[1]))
    elif fence and line.strip() == fence[0]:
        blocks.append(fence[1:4])
        fence = None
    elif fence:
        fence[3].append(line[fence[4]:] if line[:fence[4]].isspace() else line)
if fence:
    sys.exit(f"{name}:{fence[2]}: a block is not closed")
ran = 0
for words, number, lines in blocks:
    if not words or words[0] != "sh":
        if words and words[0] == "console":
            print(f"skip  {name}:{number}", file=sys.stderr)
        continue
    if words[1:] not in ([], ["serves"]):
        sys.exit(f"{name}:{number}: `{' '.join(words)}` is no marker; see tests/docs/run.sh")
    ran += 1
    print(f"block={shlex.quote(f'{name}:{number}')}; echo \"run   $block\"")
    # Comments and continuations stay with their command.
    commands = "".join(lines).rstrip("\n")
    if words[1:] == ["serves"]:
        *before, last = re.split(r"(?<!\\)\n", commands)
        print("\n".join(before))
        print(f"serves {shlex.quote(last.split(' #')[0])}")
    else:
        print(commands)
print("stop_service")
print(f"# {ran} blocks")
PY

status=0
blocks=0
for file in ${FILES:-README.md docs/*.md}; do
    python3 "$work/extract.py" "$file" >"$work/body.sh" 2>"$work/skipped" || { cat "$work/skipped" >&2; status=1; continue; }
    cat "$work/skipped"
    count=$(sed -n '$s/^# \([0-9]*\) blocks$/\1/p' "$work/body.sh")
    [ "$count" -gt 0 ] || continue
    blocks=$((blocks + count))
    # The README's first command is what builds it for a new user; who starts elsewhere has built it.
    [ -x target/debug/vouchsafe ] || [ "$file" = README.md ] || cargo build --quiet --locked
    cat "$work/lib.sh" "$work/body.sh" >"$work/script.sh"
    timeout --kill-after=10 "${LIMIT:-3600}" bash "$work/script.sh" </dev/null || { echo "FAIL  $file"; status=1; }
    git clean -fdxq -e /target
done
# Once more, built: what a second try costs.
if [ -z "${FILES:-}" ] && [ "$status" -eq 0 ]; then
    echo "# warm"
    { cat "$work/lib.sh"; echo 'block="the demo again"; serves "cargo run -- demo"; stop_service'; } >"$work/script.sh"
    timeout --kill-after=10 600 bash "$work/script.sh" </dev/null || status=1
fi
[ "$blocks" -gt 0 ] || { echo "no block was found" >&2; exit 1; }
echo "$blocks blocks run in $(python3 -c 'import sys, time; print(round(time.time() - int(sys.argv[1]) / 1e9))' "$began") s"
exit "$status"
