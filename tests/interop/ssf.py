"""A receiver of signals: makes its stream by the metadata, fetches, is pushed to, and verifies what it gets."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

URL, ADMIN, SUBJECT = os.environ["URL"], os.environ["ADMIN"], os.environ["SUBJECT"]
AUD = "https://receiver.example"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
failed = 0


def check(name, wanted, found):
    global failed
    failed += wanted != found
    print(f"ok    {name}" if wanted == found else f"FAIL  {name}: wanted {wanted!r}, found {found!r}")


def ask(method, url, token, body=None, kind="application/json"):
    data = None if body is None else json.dumps(body).encode() if kind == "application/json" else body.encode()
    headers = {"Authorization": token if " " in token else f"Bearer {token}", "Content-Type": kind}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


metadata = ask("GET", f"{URL}/.well-known/ssf-configuration", ADMIN)[1]
check("spec_version", "1_0", metadata["spec_version"])
keys = jwt.PyJWKClient(metadata["jwks_uri"])


def verified(token, audience=AUD):
    """Event and subject, as PyJWT reads them; `refused: …`."""
    try:
        header = jwt.get_unverified_header(token)
        if header.get("typ") != "secevent+jwt":
            return "refused: typ"
        claims = jwt.decode(
            token,
            keys.get_signing_key_from_jwt(token),
            algorithms=["RS256"],
            audience=audience,
            issuer=metadata["issuer"],
            options={"require": ["iss", "aud", "iat", "jti", "txn", "sub_id", "events"]},
        )
    except jwt.PyJWTError as error:
        return f"refused: {type(error).__name__}"
    if "sub" in claims or "exp" in claims or len(claims["events"]) != 1:
        return "refused: claims"
    return f"{next(iter(claims['events'])).rsplit('/', 1)[1]} {claims['sub_id']['format']}"


def both(name, wanted, token):
    check(f"PyJWT: {name}", wanted, verified(token))
    command = ["node", os.environ["JOSE"], metadata["jwks_uri"], metadata["issuer"], AUD, token]
    check(f"jose: {name}", wanted, subprocess.run(command, capture_output=True, text=True).stdout.strip())
    head, claims, signature = token.split(".")
    altered = json.loads(base64.urlsafe_b64decode(claims + "=="))
    altered["jti"] += "x"
    altered = base64.urlsafe_b64encode(json.dumps(altered).encode()).rstrip(b"=").decode()
    check(f"PyJWT: {name}, altered", "refused: InvalidSignatureError", verified(f"{head}.{altered}.{signature}"))
    check(f"PyJWT: {name}, for another", "refused: InvalidAudienceError", verified(token, "https://other.example"))


pushed = []


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        pushed.append((self.headers["Content-Type"], self.headers["Authorization"], body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()

# Two receivers by the names of an audience: one fetches, one is pushed to.
parties = []
for way in ("poll", "push"):
    made = ask("POST", f"{URL}/v1/clients", ADMIN, {"name": way, "owner": "Rae", "scopes": ["ssf.read", "ssf.manage", "tokens:issue", "tokens:revoke"]})
    check(f"{way}: a client", 201, made[0])
    client = made[1]
    registered = ask("POST", f"{URL}/v1/signal-receivers", ADMIN, {"client": client["client_id"], "name": way, "aud": AUD, "audience": "edge"})
    check(f"{way}: registered", 201, registered[0])
    secret = base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
    token = ask("POST", f"{URL}/oauth2/token", f"Basic {secret}", "grant_type=client_credentials", "application/x-www-form-urlencoded")[1]["access_token"]
    wanted = {"events_requested": [CAEP + "credential-change", CAEP + "token-claims-change"]}
    if way == "push":
        wanted["delivery"] = {"method": "urn:ietf:rfc:8935", "endpoint_url": f"http://127.0.0.1:{server.server_port}/events", "authorization_header": "Bearer theirs"}
    status, stream = ask("POST", metadata["configuration_endpoint"], token, wanted)
    check(f"{way}: a stream", 201, status)
    status, _ = ask("POST", metadata["verification_endpoint"], token, {"stream_id": stream["stream_id"], "state": "x"})
    check(f"{way}: asked to verify", 204, status)
    parties.append((token, stream))

token, stream = parties[0]
issued = ask("POST", f"{URL}/v1/subjects/{SUBJECT}/tokens", token, {"resource": "restricted.api", "audience": "edge"})[1]["token"]
form = f"token={issued}"
revoked = ask("POST", f"{URL}/oauth2/revoke", token, form, "application/x-www-form-urlencoded")
check("the token is revoked", 200, revoked[0])

fetched, ack = [], []
for _ in range(10):
    status, found = ask("POST", stream["delivery"]["endpoint_url"], token, {"ack": ack, "returnImmediately": False})
    ack = list(found["sets"])
    fetched += found["sets"].values()
    if len(fetched) >= 2:
        break
wanted = ["verification opaque", "credential-change iss_sub"]
check("poll: two tokens", 2, len(fetched))
for name, one in zip(wanted, fetched):
    both(f"poll: {name}", name, one)
until = time.time() + 30
while len(pushed) < 2 and time.time() < until:
    time.sleep(0.1)
check("push: two tokens", 2, len(pushed))
check("push: as the receiver asked", {("application/secevent+jwt", "Bearer theirs")}, {one[:2] for one in pushed})
for name, one in zip(sorted(wanted), sorted((one[2] for one in pushed), key=verified)):
    both(f"push: {name}", name, one)

# A provider whose ID tokens are exchanged says that a session is over; PyJWT signs for it.
FORM = "application/x-www-form-urlencoded"
IDP = "https://idp.example"
own = ec.generate_private_key(ec.SECP256R1())
jwk = {**jwt.algorithms.ECAlgorithm.to_jwk(own.public_key(), as_dict=True), "kid": "k", "alg": "ES256"}
scopes = ["subjects:write", "tokens:issue", "tokens:introspect"]
client = ask("POST", f"{URL}/v1/clients", ADMIN, {"name": "m", "owner": "Mo", "scopes": scopes})[1]
machine = "Basic " + base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()
token = ask("POST", f"{URL}/oauth2/token", machine, "grant_type=client_credentials", FORM)[1]["access_token"]
provider = {"name": "idp", "issuer": IDP, "audiences": ["app"], "namespace": "interop", "keys": [jwk]}
check("a provider", 201, ask("POST", f"{URL}/v1/identity-providers", ADMIN, provider)[0])
link = {"namespace": "interop", "id": "pat"}
check("a link", 201, ask("POST", f"{URL}/v1/subjects/{SUBJECT}/links", token, link)[0])
now = int(time.time())


def signed(kind, claims):
    return jwt.encode({"iss": IDP, "iat": now, **claims}, own, algorithm="ES256", headers={"kid": "k", "typ": kind})


def exchanged(session):
    asked = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "subject_token": signed("JWT", {"aud": "app", "sub": "pat", "sid": session, "exp": now + 300}),
        "resource": f"{metadata['issuer']}/resources/restricted.api",
        "audience": "edge",
    }
    return ask("POST", f"{URL}/oauth2/token", machine, urllib.parse.urlencode(asked), FORM)


def active(tokens):
    return [ask("POST", f"{URL}/oauth2/introspect", machine, f"token={one}", FORM)[1]["active"] for one in tokens]


got = [exchanged(session)[1]["access_token"] for session in ("s1", "s2")]
check("tokens of two sessions live", [True, True], active(got))
about = {"format": "complex", "user": {"format": "iss_sub", "iss": IDP, "sub": "pat"}, "session": {"format": "opaque", "id": "s1"}}
over = signed("secevent+jwt", {"aud": metadata["issuer"], "jti": "e1", "sub_id": about, "events": {CAEP + "session-revoked": {"event_timestamp": now}}})
for again in ("first", "second"):
    check(f"session-revoked, {again} time", 202, ask("POST", f"{URL}/ssf/receive", token, over, "application/secevent+jwt")[0])
    check(f"its token has ended and no other, {again} time", [False, True], active(got))
check("an ID token of it brings no other", 400, exchanged("s1")[0])
sys.exit(failed > 0)
