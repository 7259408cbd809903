#!/usr/bin/env bash
# What is shipped beside the program, each by a judge of its own: dependencies by cargo-deny, the bill of materials by
# CycloneDX's own validator and by cargo's own list, the compose file by the Compose schema.
# Needs cargo-deny and cargo-cyclonedx (cargo install --locked), python3 with venv. CLIENTS keeps the Python tools, a
# temporary folder unless set. Advisories need the network; without it they are skipped and said to be, unless
# REQUIRE_ADVISORIES is set. Half a minute once the tools are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
for tool in "cargo deny" "cargo cyclonedx" python3; do
    # shellcheck disable=SC2086  # a command and its word
    $tool --version >/dev/null 2>&1 || { echo "needs $tool" >&2; exit 69; }
done
work=$(mktemp -d)
target=x86_64-unknown-linux-gnu
bill=vouchsafe_bin.cdx.json
trap 'rm -rf "$work" ./*.cdx.json core/*.cdx.json verify/*.cdx.json' EXIT
trap 'exit 130' INT TERM
clients=${CLIENTS:-$work/clients}
if [ ! -x "$clients/supply/bin/check-jsonschema" ]; then
    python3 -m venv "$clients/supply"
    "$clients/supply/bin/pip" install --quiet --disable-pip-version-check \
        'cyclonedx-python-lib[validation]>=11,<12' 'check-jsonschema>=0.37,<1'
fi

passed=0 failed=0 skipped=0
try() { # NAME COMMAND…
    local name=$1
    shift
    if "$@" >"$work/out" 2>&1; then
        passed=$((passed + 1)) && echo "ok    $name"
    else
        failed=$((failed + 1)) && echo "FAIL  $name" && tail -n 40 "$work/out"
    fi
}

try "licences, bans, sources" cargo deny --offline check licenses bans sources
if [ -n "${REQUIRE_ADVISORIES:-}" ] || cargo deny fetch db >/dev/null 2>&1; then
    try "no known advisory" cargo deny check advisories
else
    skipped=1 && echo "skip  advisories: the database cannot be fetched here"
fi

try "a bill of materials is made" cargo cyclonedx --format json --spec-version 1.5 --describe binaries --target "$target" --quiet
cat >"$work/validate.py" <<'PY'
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
found = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1], encoding="utf-8").read())
sys.exit(str(found) if found else 0)
PY
try "it is CycloneDX 1.5" "$clients/supply/bin/python" "$work/validate.py" "$bill"
cat >"$work/compare.py" <<'PY'
import json, sys
bill = json.load(open(sys.argv[1], encoding="utf-8"))
listed = {(c["name"], c["version"]) for c in bill["components"]}
linked = {tuple(line.split()[:2]) for line in open(sys.argv[2], encoding="utf-8")}
linked = {(name, version.removeprefix("v")) for name, version in linked} - {("vouchsafe", bill["metadata"]["component"]["version"])}
without = [c["name"] for c in bill["components"] if not c.get("licenses")]
unhashed = [c["name"] for c in bill["components"] if c["name"] not in ("vouchsafe-core", "vouchsafe-verify") and not c.get("hashes")]
problems = [f"not in the bill: {linked - listed}"] * bool(linked - listed)
problems += [f"without licence: {without}"] * bool(without) + [f"without hash: {unhashed}"] * bool(unhashed)
# It takes cargo's resolution, which holds optional parts that no feature turns on: more is harmless, less is not.
print(len(listed), "components,", len(listed - linked), "of them not linked")
sys.exit("\n".join(problems) or 0)
PY
cargo tree --locked --package vouchsafe --edges normal,build --target "$target" --prefix none --format '{p}' | sort -u >"$work/tree"
try "it lists all that cargo links or builds with, each with licence and hash" python3 "$work/compare.py" "$bill" "$work/tree"

try "the compose file is one" "$clients/supply/bin/check-jsonschema" --builtin-schema vendor.compose-spec examples/compose.yaml

[ "$skipped" -eq 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
