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
for result in results:
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
