"""For schemathesis.sh: makes the things a role asks about, and as its hooks puts their ids into what it asks.

As a script: schemathesis.py FIXTURES FOLDER ROLE writes FOLDER/ROLE.header and FOLDER/ROLE.known.
"""

import atexit
import base64
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ROLES = {
    "onboarding": ["subjects:read", "subjects:write", "attestations:read", "attestations:write", "vouches:write",
                   "observations:write", "eligibility:read", "tokens:issue", "tokens:introspect", "tokens:revoke",
                   "appeals:read", "appeals:write"],
    "employer": ["vouches:write"],
    "rules-writer": ["rules:read", "rules:write"],
    "proposer": ["rules:read", "directives:propose"],
    "approver": ["rules:read", "directives:approve"],
    "auditor": ["subjects:read", "attestations:read", "eligibility:read", "admissions:read", "rules:read"],
    "privacy": ["subjects:read", "subjects:export", "subjects:erase", "subjects:hold"],
    "administrator": ["admin", "rules:read"],
    "signals": ["sso:claims", "ssf.read", "ssf.manage", "webhooks"],
}


class Service:
    """The running service, as whoever asks."""

    def __init__(self, token=None):
        self.url = os.environ["VOUCHSAFE_PUBLIC_ORIGIN"]
        self.token = token

    def send(self, path, body, kind="application/json", basic=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers={"Content-Type": kind})
        if basic:
            request.add_header("Authorization", "Basic " + base64.b64encode(":".join(basic).encode()).decode())
        elif self.token:
            request.add_header("Authorization", "Bearer " + self.token)
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": "Bearer " + self.token})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def as_client(self, client):
        form = urllib.parse.urlencode({"grant_type": "client_credentials"}).encode()
        basic = (client["client_id"], client["client_secret"])
        for _ in range(20):
            try:
                answer = self.send("/oauth2/token", form, "application/x-www-form-urlencoded", basic)
                return Service(answer["access_token"])
            except urllib.error.HTTPError as error:
                # The service has not yet heard of a client that another process made.
                if error.code != 401:
                    raise
                time.sleep(0.25)
        raise RuntimeError("the service does not know the client")


def client(name, scopes, sources=(), organisation=None):
    """A client made on the host, which alone can give every scope."""
    command = [os.environ["VOUCHSAFE_BIN"], "client", "create", "--json", "--name", name, "--owner", name.title()]
    command += [word for scope in scopes for word in ("--scope", scope)]
    command += [word for source in sources for word in ("--source", source)]
    command += ["--organisation", organisation] if organisation else []
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


PASSWORD = "a goose crossed nine frozen lakes"


def operator(login):
    """A reviewer who has changed the password they were given."""
    command = [os.environ["VOUCHSAFE_BIN"], "operator", "create", "--json", "--login", login, "--name", login.title(),
               "--role", "reviewer"]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    def signed_in(password):
        return Service(Service().send("/v1/operators/login", {"login": login, "password": password})["token"])
    words = {"password": made["password"], "new_password": PASSWORD}
    signed_in(made["password"]).send("/v1/operators/password", words)
    return made["operator"], signed_in(PASSWORD)


def reviewed(helper, reviewer, organisation, registry):
    """Somebody about whom sources contradict each other: their case with a proposal in it, and an appeal."""
    subject = helper.send("/v1/subjects", {"kind": "person"})["id"]
    states = {"type": "states", "frame": "us_status"}
    helper.send(f"/v1/subjects/{subject}/attestations", {
        "source": registry, "kind": "registry", "grade": "STRONG", "statement": {**states, "states": ["citizen"]}})
    helper.send("/v1/vouches", {"subject": subject, "basis": "export_control_record",
                                "statement": {**states, "states": ["other"]}})
    appeal = helper.send("/v1/appeals", {"subject": subject, "resource": "restricted.api", "text": "look again"})["id"]
    for _ in range(60):
        found = reviewer.get(f"/v1/cases?state=open&subject={subject}")["items"]
        if found:
            case = found[0]["id"]
            proposal = reviewer.send(f"/v1/cases/{case}/proposals", {"reason": "no_change"})["id"]
            return case, proposal, appeal
        time.sleep(0.25)
    raise RuntimeError("no case was opened")


SCIM = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def provisioned(seed, organisation, subject):
    """A directory with a token and three people; the ids, and whoever asks as the directory."""
    directory = seed.send("/v1/directories", {"name": "People", "organisation": organisation,
                                              "namespace": f"d-{subject}", "resources": ["restricted.api"]})["id"]
    token = seed.send(f"/v1/directories/{directory}/tokens", {})
    people = Service(token["token"])
    users = [people.send("/scim/v2/Users", {"schemas": [SCIM], "userName": f"user{n}", "externalId": f"e{n}"},
                         "application/scim+json")["id"] for n in range(3)]
    return directory, token, users


def told(seed, helper, subject, linked, asker):
    """An identity provider that `asker` asks for and that knows the subject, an endpoint of webhooks, and a receiver of
    signals that `asker` is."""
    provider = seed.send("/v1/identity-providers", {
        "name": "Idp", "issuer": f"https://{subject.replace('_', '-')}.idp.example", "namespace": f"i-{subject}",
        "resources": ["restricted.api"], "hook": {"platform": "okta"}, "clients": [asker]})
    helper.send(f"/v1/subjects/{subject}/links", {"namespace": f"i-{subject}", "id": linked})
    endpoint = helper.send("/v1/webhook-endpoints", {
        "name": "Hook", "url": "http://127.0.0.1:9/hook", "topics": ["attestation.accepted"]})["id"]
    receiver = seed.send("/v1/signal-receivers", {
        "client": asker, "name": "Portal", "aud": "https://portal.example", "namespace": f"i-{subject}"})["id"]
    return provider, endpoint, receiver


def tolerant(make):
    """What was made for an earlier role stays."""
    try:
        return make()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise RuntimeError(error.read().decode()) from error
        return None


def rules(seed, second, fixtures):
    """The shipped policy in force, once."""
    def post(folder, name, path):
        return tolerant(lambda: seed.send(path, (fixtures / folder / name).read_bytes(), "application/toml"))
    if post("sets", "annex-a@2026-06-26.toml", "/v1/sets") is None:
        return
    post("policies", "restricted-us-persons.toml", "/v1/policies")
    action = {"activate": {"policy": "restricted-us-persons", "version": 1}}
    order = {"id": "activate", "authority": "a", "citation": "c", "actions": [action]}
    seed.send("/v1/directives", order)
    second.send("/v1/directives/activate/approve", b"")


def seeded(fixtures, folder, role):
    """Makes what the role asks about; gives the header it asks with and the ids by kind."""
    seed = Service().as_client(json.loads((folder / "seed.json").read_text()))
    second = Service().as_client(json.loads((folder / "second.json").read_text()))
    rules(seed, second, fixtures)
    organisation = seed.send("/v1/organisations", {"name": "Meridian", "verified": True})["id"]
    registry = seed.send("/v1/sources", {"name": "Register", "kind": "registry"})["id"]
    vendor = seed.send("/v1/sources", {"name": "Stripe", "kind": "document_vendor", "vendor": {
        "name": "stripe", "base_url": "http://127.0.0.1:9", "webhook_tokens": ["whsec_invented_1"],
        "api_token": "rk_live_invented"}})["id"]
    audience = f"edge-{role}"
    tolerant(lambda: seed.send("/v1/audiences", {"id": audience, "name": "Edge", "resources": ["restricted.*"]}))
    gateway = seed.send("/v1/gateways", {"name": "Edge", "resources": ["restricted.*"], "audience": audience,
                                         "asserts": True})
    everything = json.loads(urllib.request.urlopen(seed.url + "/.well-known/oauth-authorization-server").read())
    everything = everything["scopes_supported"]
    helper = Service().as_client(client("helper", everything, ["src_self", registry], organisation))
    subject = helper.send("/v1/subjects", {"kind": "person"})["id"]
    linked = f"{role}-{subject}"
    helper.send(f"/v1/subjects/{subject}/links", {"namespace": "payroll", "id": linked})
    helper.send(f"/v1/subjects/{subject}/sessions", {"source": vendor, "session": f"vs_{linked}"})
    vouches = [helper.send("/v1/vouches", {"subject": subject, "event_id": f"v-{linked}-{n}", "statement": {
        "type": "employment", "organisation": organisation, "employed": True}})["id"] for n in range(3)]
    attestation = helper.send(f"/v1/subjects/{subject}/attestations", {
        "source": registry, "kind": "registry", "grade": "STRONG", "statement": {"type": "read", "category": "A05"},
        "document": {"type": "status_record", "issuing_country": "USA"}})["id"]
    decision = helper.get(f"/v1/subjects/{subject}/eligibility?resource=restricted.api")["id"]
    order = {"id": f"freeze-{linked.replace('_', '-')}"[:60], "authority": "a", "citation": "c",
             "actions": [{"freeze": "elsewhere.*"}]}
    tolerant(lambda: seed.send("/v1/directives", order))
    clients = client("shown", ["rules:read"])["client_id"]
    scopes = everything if role == "everything" else ROLES.get(role, ["sso:claims", "ssf.read", "ssf.manage"])
    sources = ["src_self", registry] if "attestations:write" in scopes else []
    ours = organisation if role in ("employer", "everything") else None
    asker = client(role, scopes, sources, ours)
    asking = Service().as_client(asker)
    directory, scim_token, users = provisioned(seed, organisation, subject)
    # Whoever may not be a receiver has one beside it.
    signals = asker if "ssf.manage" in scopes else client("signals", ["sso:claims", "ssf.read", "ssf.manage"])
    stream_maker = Service().as_client(signals)
    provider, endpoint, receiver = told(seed, helper, subject, linked, signals["client_id"])
    stream = stream_maker.send("/ssf/stream", {
        "events_requested": ["https://schemas.openid.net/secevent/caep/event-type/credential-change"]})["stream_id"]
    handle = f"h-{linked}"
    helper.send("/v1/end-users", {"handle": handle})
    first, proposer = operator(f"first-{role}")
    second_person, reviewer = operator(f"second-{role}")
    case, proposal, appeal = reviewed(helper, proposer, organisation, registry)
    known = {
        "subjects": [subject], "vouches": vouches, "attestations": [attestation, *vouches], "decisions": [decision],
        "organisations": [organisation], "sources": [registry, vendor], "intake": [vendor], "clients": [clients],
        "gateways": [gateway["id"]], "audiences": [audience], "directives": [order["id"], "activate"],
        "policies": ["restricted-us-persons@1"], "definitions": ["us_status@1"], "sets": ["annex-a@2026-06-26"],
        "namespace": ["payroll"], "link": [linked], "resource": ["restricted.api"], "check": ["restricted.api"],
        "subject": [subject, f"payroll:{linked}"], "source": ["src_self", registry], "organisation": [organisation],
        "audience": [audience], "operators": [first], "operator": [second_person], "cases": [case],
        "proposals": [proposal], "proposal": [proposal], "appeals": [appeal], "directories": [directory],
        "tokens": [scim_token["id"]], "token": [scim_token["id"]], "Users": users,
        "identity-providers": [provider["id"]], "webhook-endpoints": [endpoint],
        "signal-receivers": [receiver], "stream_id": [stream], "end-users": [handle], "handle": [handle],
        "sub": [linked],
    }
    if role == "directory":
        return f"Authorization: Bearer {scim_token['token']}", known
    if role == "hook":
        request = json.loads((fixtures / "sso" / "okta_request.json").read_text())
        context = request["data"]["context"]
        context["user"]["id"] = context["session"]["userId"] = linked
        context["protocol"]["issuer"]["uri"] = f"https://{subject.replace('_', '-')}.idp.example"
        known["okta"] = [request]
        return f"Authorization: {provider['hook_secret']}", known
    if role == "gateway":
        return f"X-Gateway-Key: {gateway['key']}", known
    if role == "reviewer":
        return f"Authorization: Bearer {reviewer.token}", known
    if role == "nobody":
        return "X-Nobody: 1", known
    return f"Authorization: Bearer {asking.token}", known


if __name__ == "__main__":
    fixtures_folder, data, asked = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    header, ids = seeded(fixtures_folder, data, asked)
    (data / f"{asked}.header").write_text(header)
    (data / f"{asked}.known").write_text(json.dumps(ids))
else:
    import schemathesis

    KNOWN = json.loads(pathlib.Path(os.environ["KNOWN"]).read_text())
    CHANCE = random.Random(1)
    ANSWERS = collections.Counter()
    DONE = set()

    @schemathesis.hook
    def after_call(ctx, case, response):
        """Counts what was answered, so that a run that reached nothing is seen."""
        ANSWERS[response.status_code] += 1
        if response.status_code < 300:
            DONE.add(f"{case.method} {case.operation.path}")

    @atexit.register
    def tell():
        counts = " ".join(f"{status}:{count}" for status, count in sorted(ANSWERS.items()))
        told = {"operations_done": len(DONE), "answers": counts}
        pathlib.Path(os.environ["KNOWN"]).with_suffix(".answers").write_text(json.dumps(told) + "\n")

    @schemathesis.serializer("application/secevent+jwt")
    def security_event(ctx, value):
        return value if isinstance(value, bytes) else str(value).encode()

    def some(kind):
        return CHANCE.choice(KNOWN[kind])

    @schemathesis.hook
    def before_call(ctx, case, kwargs):
        """Three of four well-formed requests are about things that are there."""
        meta = getattr(case, "meta", None)
        positive = meta is not None and meta.generation.mode.value == "positive"
        if not positive or CHANCE.random() < 0.25:
            return
        segments = case.operation.path.strip("/").split("/")
        for name in list(case.path_parameters or {}):
            before = segments[segments.index("{" + name + "}") - 1]
            kind = name if name in KNOWN else before
            if kind in KNOWN:
                case.path_parameters[name] = some(kind)
        for members in (case.query, case.body):
            if isinstance(members, dict):
                for name in ("resource", "subject", "source", "organisation", "audience", "sub", "stream_id"):
                    if isinstance(members.get(name), str):
                        members[name] = some(name)
        path, method = case.operation.path, case.method.upper()
        if path.startswith("/scim/v2/Users") and not path.endswith(".search") and method in ("POST", "PUT", "PATCH"):
            if isinstance(case.body, dict):
                said = {"displayName": "Ada", "active": CHANCE.random() < 0.5, **case.body}
                named = {"schemas": [SCIM], "userName": f"user{CHANCE.randrange(10**9)}"}
                case.body = ({"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": said}]}
                             if method == "PATCH" else {**said, **named})
        if path == "/sso/okta" and "okta" in KNOWN:
            case.body = some("okta")
        if case.operation.path == "/v1/vouches/batch" and isinstance(case.body, str):
            subject, said = some("subject"), CHANCE.choice(["true", "false"])
            case.body = {
                "text/csv": f"subject,employed\r\n{subject},{said}\r\n{case.body}",
                "application/x-ndjson": json.dumps({"subject": subject, "employed": said == "true"}) + "\n" + case.body,
            }.get(case.media_type, case.body)
