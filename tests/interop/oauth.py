"""Authlib, PyJWT and joserfc: private_key_jwt, exchange with an ID token, verification, introspection, revocation, DPoP."""

import base64
import hashlib
import json
import os
import time
import uuid

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from joserfc import jwt as jose_jwt
from joserfc.jwk import KeySet, RSAKey

URL, ADMIN, ONBOARDING = (os.environ[name] for name in ("URL", "ADMIN", "ONBOARDING"))
ELIGIBLE, NEWCOMER = os.environ["ELIGIBLE"], os.environ["NEWCOMER"]
TOKEN = URL + "/oauth2/token"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SUBJECT = "urn:vouchsafe:params:oauth:token-type:subject"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES = ["tokens:issue", "tokens:introspect", "tokens:revoke", "subjects:read"]
IDP = "https://idp.interop.example"
RESOURCE = URL + "/resources/restricted.api"
passed = failed = 0


def step(name):
    """Runs a step at once and says how it went."""

    def run(function):
        global passed, failed
        try:
            function()
            passed += 1
            print(f"ok    {name}")
        except Exception as error:  # whatever a library throws is a failure of the step
            failed += 1
            print(f"FAIL  {name}: {type(error).__name__}: {error}")

    return run


def make(path, body, token=ADMIN):
    answer = requests.post(URL + path, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code in (200, 201), answer.text
    return answer.json() if answer.content else None


def eligibility(token):
    """Verified by PyJWT and by joserfc, which have to agree."""
    key = jwt.PyJWKClient(URL + "/.well-known/jwks.json").get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, algorithms=["ES256"], issuer=URL, audience="edge")
    keys = KeySet.import_key_set(requests.get(URL + "/.well-known/jwks.json", timeout=10).json())
    decoded = jose_jwt.decode(token, keys, algorithms=["ES256"])
    assert decoded.header["typ"] == "eligibility+jwt", decoded.header
    assert decoded.claims == claims
    return claims


def exchange(kind=SUBJECT, token=ELIGIBLE, resource=RESOURCE):
    return {"grant_type": EXCHANGE, "subject_token_type": kind, "subject_token": token, "resource": resource,
            "audience": "edge"}


rsa = RSAKey.generate_key(2048, {"kid": "p1", "use": "sig", "alg": "RS256"})
legacy = make("/v1/clients", {"name": "authlib", "owner": "Aya", "scopes": SCOPES, "endpoint_audience": True,
                              "keys": [rsa.as_dict(private=False)]})["client_id"]
plain = make("/v1/clients", {"name": "authlib with a secret", "owner": "Aya", "scopes": SCOPES})


def keyed_session(audience):
    session = OAuth2Session(legacy, rsa.as_pem(private=True), token_endpoint_auth_method="private_key_jwt")
    # Authlib's own choice is an hour.
    session.register_client_auth_method(PrivateKeyJWT(audience, claims={"exp": int(time.time()) + 120}))
    return session


def secret_session(method):
    return OAuth2Session(plain["client_id"], plain["client_secret"], token_endpoint_auth_method=method)


for name, audience in [("the issuer as audience", URL), ("the older audience, where it is switched on", TOKEN)]:

    @step(f"Authlib: private_key_jwt with {name}")
    def _():
        token = keyed_session(audience).fetch_token(TOKEN, grant_type="client_credentials")
        assert token["token_type"] == "Bearer" and set(token["scope"].split()) == set(SCOPES), token


for method in ("client_secret_basic", "client_secret_post"):

    @step(f"Authlib: {method}, exchange, introspection, revocation")
    def _():
        session = secret_session(method)
        assert session.fetch_token(TOKEN, grant_type="client_credentials", scope="subjects:read")["scope"] == "subjects:read"
        assert session.get(URL + "/v1/subjects").status_code == 200
        session = secret_session(method)
        form = exchange()
        token = session.fetch_token(TOKEN, **form)["access_token"]
        claims = eligibility(token)
        assert claims["act"] == {"sub": plain["client_id"]}, claims
        # A session of Authlib sends its own token beside its credentials; a fresh one has none.
        worth = secret_session(method).introspect_token(URL + "/oauth2/introspect", token=token).json()
        assert worth["active"] and worth["eligibility"]["resource"] == "restricted.api", worth
        assert secret_session(method).revoke_token(URL + "/oauth2/revoke", token=token).status_code == 200
        worth = secret_session(method).introspect_token(URL + "/oauth2/introspect", token=token).json()
        assert worth == {"active": False}, worth


@step("Authlib: who is not eligible is told so in the words of the standard")
def _():
    try:
        secret_session("client_secret_post").fetch_token(TOKEN, **exchange(token=NEWCOMER))
    except Exception as error:
        assert error.error == "invalid_target", error
        return
    raise AssertionError("a token for somebody who is not eligible")


@step("joserfc: an ID token of a registered provider, exchanged")
def _():
    make("/v1/identity-providers", {"name": "interop", "issuer": IDP, "audiences": ["app"], "namespace": "interop",
                                    "keys": [rsa.as_dict(private=False)]})
    make(f"/v1/subjects/{ELIGIBLE}/links", {"namespace": "interop", "id": "248289761001"}, ONBOARDING)
    now = int(time.time())
    claims = {"iss": IDP, "aud": "app", "sub": "248289761001", "iat": now, "exp": now + 120}
    token = jose_jwt.encode({"alg": "RS256", "kid": "p1", "typ": "JWT"}, claims, rsa, algorithms=["RS256"])
    answer = secret_session("client_secret_basic").fetch_token(TOKEN, **exchange(ID_TOKEN, token))
    assert eligibility(answer["access_token"])["exp"] <= now + 120
    stranger = RSAKey.generate_key(2048, {"kid": "p1"})
    forged = jose_jwt.encode({"alg": "RS256", "kid": "p1", "typ": "JWT"}, claims, stranger, algorithms=["RS256"])
    form = exchange(ID_TOKEN, forged)
    refused = requests.post(TOKEN, form, auth=(plain["client_id"], plain["client_secret"]), timeout=10)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), refused.text


@step("PyJWT: private_key_jwt with Ed25519, once; the access token verifies")
def _():
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "e1"}
    client = make("/v1/clients", {"name": "pyjwt", "owner": "Pia", "scopes": SCOPES, "keys": [jwk]})["client_id"]

    def ask(aud, jti):
        now = int(time.time())
        claims = {"iss": client, "sub": client, "aud": aud, "iat": now, "exp": now + 60, "jti": jti}
        assertion = jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": "e1", "typ": "client-authentication+jwt"})
        form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
        return requests.post(TOKEN, form, timeout=10)

    first = ask(URL, "one")
    assert first.status_code == 200, first.text
    assert ask(URL, "one").json()["error"] == "invalid_client", "used twice"
    assert ask(TOKEN, "two").json()["error"] == "invalid_client", "the older audience"
    token = first.json()["access_token"]
    signer = jwt.PyJWKClient(URL + "/.well-known/jwks.json").get_signing_key_from_jwt(token)
    claims = jwt.decode(token, signer, algorithms=["ES256"], issuer=URL, audience=URL)
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt" and claims["client_id"] == client


@step("PyJWT: DPoP at the token endpoint and at the API")
def _():
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))

    def proof(method, url, token=None):
        claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": str(uuid.uuid4())}
        if token:
            digest = hashlib.sha256(token.encode()).digest()
            claims["ath"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return jwt.encode(claims, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": jwk})

    auth = (plain["client_id"], plain["client_secret"])
    form = {"grant_type": "client_credentials"}
    granted = requests.post(TOKEN, form, auth=auth, headers={"DPoP": proof("POST", TOKEN)}, timeout=10).json()
    assert granted["token_type"] == "DPoP", granted
    token, listed = granted["access_token"], URL + "/v1/subjects"
    headers = {"Authorization": f"DPoP {token}", "DPoP": proof("GET", listed, token)}
    assert requests.get(listed, headers=headers, timeout=10).status_code == 200
    replayed = requests.get(listed, headers=headers, timeout=10)
    assert (replayed.status_code, replayed.json()["code"]) == (401, "invalid_dpop_proof"), replayed.text
    borne = requests.get(listed, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert borne.status_code == 401 and 'error="invalid_token"' in borne.headers["WWW-Authenticate"]


print(f"{passed} passed, {failed} failed")
raise SystemExit(1 if failed else 0)
