"""Receives real deliveries and verifies them with the reference library."""

import base64
import http.server
import json
import os
import queue
import threading
import time
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

URL, ADMIN, ONBOARDING = (os.environ[name] for name in ("URL", "ADMIN", "ONBOARDING"))
got: queue.Queue = queue.Queue()
checks = 0


def check(holds, what):
    global checks
    checks += 1
    assert holds, what


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        got.put(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def api(path, body=None, token=ADMIN, method="POST"):
    data = json.dumps(body).encode() if body is not None else None if method == "GET" else b""
    headers = {"authorization": f"Bearer {token}"}
    if body is not None:
        headers["content-type"] = "application/json"
    request = urllib.request.Request(URL + path, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def settled(path, message):
    """Waits until the log says that a message came through: that is written down a moment after it did."""
    request = urllib.request.Request(f"{URL}{path}/deliveries?state=delivered", headers={"authorization": f"Bearer {ADMIN}"})
    for _ in range(200):
        with urllib.request.urlopen(request, timeout=20) as answer:
            if any(item["message"] == message for item in json.loads(answer.read())["items"]):
                return
        time.sleep(0.1)
    check(False, "it came through and the log does not say so")


def refuses(webhook, body, headers):
    try:
        webhook.verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def event(name):
    """A new subject that says something of itself; the message about it."""
    subject = api("/v1/subjects", {"kind": "person", "external_id": name}, ONBOARDING)["id"]
    api(
        f"/v1/subjects/{subject}/attestations",
        {
            "source": "src_self",
            "kind": "declaration",
            "statement": {"type": "states", "frame": "us_status", "states": ["citizen"]},
        },
        ONBOARDING,
    )
    headers, body = got.get(timeout=20)
    check(json.loads(body)["data"]["subject"] == subject, "the message is about the subject")
    check(json.loads(body)["type"] == "attestation.accepted", "its type")
    check(name not in body.decode(), "the caller's own id is not told")
    return headers, body


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    topics = ["attestation.accepted"]
    made = api("/v1/webhook-endpoints", {"name": "python", "url": url, "topics": topics, "ed25519": True})
    old = Webhook(made["secret"])

    headers, body = event("interop-python-1")
    verified = old.verify(body, headers)
    check(verified["type"] == "attestation.accepted", "verified and read")
    check(refuses(old, body + b" ", headers), "another body")
    check(refuses(old, body, {**headers, "webhook-id": "out_x"}), "another id")
    check(refuses(old, body, {**headers, "webhook-timestamp": "1614265330"}), "another time")
    check(refuses(Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), body, headers), "another secret")

    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(made["public_key"].removeprefix("whpk_")))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    own = [part.removeprefix("v1a,") for part in headers["webhook-signature"].split() if part.startswith("v1a,")]
    check(len(own) == 1, "one Ed25519 signature")
    public.verify(base64.b64decode(own[0]), signed)
    try:
        public.verify(base64.b64decode(own[0]), signed + b" ")
        check(False, "another message")
    except InvalidSignature:
        check(True, "another message")

    path = f"/v1/webhook-endpoints/{made['id']}"
    tested = api(f"{path}/test")
    headers, body = got.get(timeout=20)
    check(tested["delivered"] and old.verify(body, headers)["type"] == "webhook.test", "a test message")

    new = Webhook(api(f"{path}/rotate")["secret"])
    headers, body = event("interop-python-2")
    check(old.verify(body, headers) == new.verify(body, headers), "both secrets while one is rotated")
    only_new = {**headers, "webhook-signature": " ".join(headers["webhook-signature"].split()[:2])}
    check(new.verify(body, only_new) is not None and refuses(old, body, only_new), "the new one stands first")

    settled(path, headers["webhook-id"])
    replayed = api(f"{path}/replay", {"message": headers["webhook-id"]})
    again, same = got.get(timeout=20)
    check(replayed == {"replayed": 1} and again["webhook-id"] == headers["webhook-id"] and same == body, "replayed")
    new.verify(same, again)
    print(f"python standardwebhooks: {checks} checks hold")


main()
