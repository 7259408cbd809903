"""Asks a running service as scim2-tester (PyPI) does, and then a few things that it does not ask. URL, TOKEN."""

import os
import sys

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import Status, check_server

url, token = os.environ["URL"] + "/scim/v2", os.environ["TOKEN"]
http = httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})
results = check_server(SyncSCIMClient(http))

# What is better than a failure; anything else fails the script, also what is only advised against.
good = {Status.SUCCESS, Status.COMPLIANT, Status.ACCEPTABLE}
counts = {}
ours = "urn:ietf:params:scim:schemas:extension:vouchsafe:eligibility:2.0:User"


def refused(result):
    """The tester takes an extension for writable whose every attribute is read-only: adding, replacing and removing it as a
    whole is refused as RFC 7644 section 3.5.2 says, by `mutability`, and that refusal is the check that passes."""
    data = result.data if isinstance(result.data, dict) else {}
    return (result.title in ("check_add_attribute", "check_replace_attribute", "check_remove_attribute")
            and data.get("urn") == ours and type(data.get("error")).__name__ == "MutabilityException")


for result in results:
    if refused(result):
        print(f"{result.title} of what is read-only is refused by `mutability`, as it has to be")
        result.status = Status.SUCCESS
    counts[result.status.name] = counts.get(result.status.name, 0) + 1
    if result.status not in good:
        print(f"{result.status.name:9} {result.title}: {result.reason}\n          {str(result.data)[:600]}")
titles = sorted({result.title for result in results if result.title})
print(f"scim2-tester: {len(results)} checks of {len(titles)} kinds: "
      + ", ".join(f"{count} {name.lower()}" for name, count in sorted(counts.items())))
needed = {"object_creation", "object_query", "object_replacement", "object_deletion", "check_add_attribute",
          "check_remove_attribute", "check_replace_attribute", "search_with_attributes"}
missing = needed - set(titles)
if missing:
    print("not asked:", ", ".join(sorted(missing)))
sys.exit(1 if missing or len(results) < 40 or any(result.status not in good for result in results) else 0)
