#!/usr/bin/env bash
# The SCIM server, asked by scim2-tester (PyPI) against the demo: every check must pass. With and without resources that
# the directory is told of.
# Needs curl and python3 with venv; VOUCHSAFE_BIN names a built binary, else it is built. The tester is installed into
# CLIENTS, a temporary folder unless set.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
. "$root/tests/demo.sh"
built
clients=${CLIENTS:-$work/clients}
mkdir -p "$clients"
if [ ! -x "$clients/scim/bin/python" ]; then
    python3 -m venv "$clients/scim"
    "$clients/scim/bin/pip" install --quiet --disable-pip-version-check 'scim2-tester==0.5.2' 'scim2-client[httpx2]>=0.13,<0.14'
fi
demo_options=--unlimited start_demo
export URL TOKEN
URL=$url
admin=$(access_token administrator)
post() { curl -fs "$url$1" -H "Authorization: Bearer $admin" -H 'Content-Type: application/json' -d "$2"; }

failed=0
for resources in '' '"restricted.api","nationals.api"'; do
    namespace=tester-${#resources}
    directory=$(post /v1/directories "{\"name\":\"tester\",\"organisation\":\"$(demo organisations listed id)\",
        \"namespace\":\"$namespace\",\"resources\":[$resources],\"discloses\":[\"status\"]}" | member id)
    TOKEN=$(post "/v1/directories/$directory/tokens" '{}' | member token)
    echo "directory $directory is told of [$resources]"
    timeout 300 "$clients/scim/bin/python" "$here/scim.py" || failed=1
done
exit $failed
