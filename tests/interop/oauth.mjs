// openid-client and jose: private_key_jwt, exchange, introspection (plain and signed), revocation, DPoP.
import assert from 'node:assert/strict';
import * as jose from 'jose';
import * as client from 'openid-client';

const { URL: url, ADMIN, ELIGIBLE, NEWCOMER } = process.env;
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SUBJECT = 'urn:vouchsafe:params:oauth:token-type:subject';
let passed = 0, failed = 0;
async function step(name, run) {
  try { await run(); passed++; console.log(`ok    openid-client, jose: ${name}`); }
  catch (error) { failed++; console.log(`FAIL  openid-client, jose: ${name}: ${error.message} ${error.error ?? ''} ${error.error_description ?? ''}`); }
}
async function register(body) {
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${ADMIN}` };
  const response = await fetch(`${url}/v1/clients`, { method: 'POST', headers, body: JSON.stringify(body) });
  assert.equal(response.status, 201, await response.clone().text());
  return response.json();
}
const refused = (run, status, error) => assert.rejects(run, (found) => {
  assert.deepEqual([found.status, found.error], [status, error], found.message);
  return true;
});
// A 401 with a challenge is told by the challenge.
const challenged = (run) => assert.rejects(run, (found) => {
  assert.deepEqual([found.status, found.cause[0].scheme], [401, 'basic'], found.message);
  return true;
});

const scopes = ['tokens:issue', 'tokens:introspect', 'tokens:revoke', 'subjects:read'];
const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = { ...await jose.exportJWK(publicKey), kid: 'n1', alg: 'ES256', use: 'sig' };
const keyed = await register({ name: 'node', owner: 'Noor', scopes, keys: [jwk] });
const secret = await register({ name: 'node with a secret', owner: 'Noor', scopes });
const options = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] };
const discover = (id, metadata, proof) => client.discovery(new URL(url), id, metadata, proof, options);
const assertion = () => client.PrivateKeyJwt({ key: privateKey, kid: 'n1' });
const config = await discover(keyed.client_id, {}, assertion());
const bySecret = await discover(secret.client_id, {}, client.ClientSecretBasic(secret.client_secret));
const byPost = await discover(secret.client_id, {}, client.ClientSecretPost(secret.client_secret));
const resource = `${url}/resources/restricted.api`;
const exchange = (to, change, more) => client.genericGrantRequest(to, EXCHANGE,
  { subject_token: ELIGIBLE, subject_token_type: SUBJECT, resource, audience: 'edge', ...change }, more);
const keys = jose.createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri));
const verify = (token, audience, typ) =>
  jose.jwtVerify(token, keys, { issuer: url, audience, typ, algorithms: ['ES256'] });

await step('discovery finds the issuer it asked for', async () => {
  assert.equal(config.serverMetadata().issuer, url);
});
for (const [name, to] of [['private_key_jwt', config], ['client_secret_basic', bySecret], ['client_secret_post', byPost]]) {
  await step(`${name}: an access token of RFC 9068`, async () => {
    const granted = await client.clientCredentialsGrant(to, { scope: 'subjects:read', resource: url });
    assert.deepEqual([granted.token_type, granted.scope, granted.expires_in], ['bearer', 'subjects:read', 600]);
    const { payload } = await verify(granted.access_token, url, 'at+jwt');
    assert.deepEqual([payload.sub, payload.client_id], [to.clientMetadata().client_id, to.clientMetadata().client_id]);
    const used = await client.fetchProtectedResource(to, granted.access_token, new URL(`${url}/v1/subjects`), 'GET');
    assert.equal(used.status, 200);
  });
}
await step('a wrong secret is refused', async () => {
  const wrong = await discover(secret.client_id, {}, client.ClientSecretBasic('wrong'));
  await challenged(client.clientCredentialsGrant(wrong));
});
await step('a stranger\'s assertion is refused', async () => {
  const stranger = await jose.generateKeyPair('ES256');
  const wrong = await discover(keyed.client_id, {}, client.PrivateKeyJwt({ key: stranger.privateKey, kid: 'n1' }));
  await challenged(client.clientCredentialsGrant(wrong));
});
let token;
await step('exchange, and the token verifies', async () => {
  const granted = await exchange(config, {});
  assert.equal(granted.issued_token_type, 'urn:ietf:params:oauth:token-type:jwt');
  assert.equal(granted.token_type, 'n_a');
  token = granted.access_token;
  const { payload } = await verify(token, 'edge', 'eligibility+jwt');
  assert.deepEqual(payload.act, { sub: keyed.client_id });
  assert.equal(payload.eligibility.resource, 'restricted.api');
  assert.equal(payload.exp - payload.iat, granted.expires_in);
});
await step('an unknown resource is refused', () =>
  refused(exchange(config, { resource: `${url}/resources/unknown` }), 400, 'invalid_target'));
await step('who is not eligible gets the decision and no token', async () => {
  await assert.rejects(exchange(config, { subject_token: NEWCOMER }), (error) => {
    assert.equal(error.error, 'invalid_target');
    assert.equal(error.cause.decision.status, 'insufficient');
    return true;
  });
});
await step('introspection', async () => {
  const found = await client.tokenIntrospection(config, token);
  assert.deepEqual([found.active, found.aud, found.client_id], [true, 'edge', keyed.client_id]);
  assert.deepEqual(await client.tokenIntrospection(config, 'nonsense'), { active: false });
});
await step('introspection as a signed token', async () => {
  const signed = await discover(keyed.client_id, { introspection_signed_response_alg: 'ES256' }, assertion());
  client.enableNonRepudiationChecks(signed);
  assert.equal((await client.tokenIntrospection(signed, token)).active, true);
  assert.equal((await client.tokenIntrospection(signed, 'nonsense')).active, false);
});
await step('revocation', async () => {
  await client.tokenRevocation(config, token);
  assert.deepEqual(await client.tokenIntrospection(config, token), { active: false });
  await client.tokenRevocation(config, 'nonsense');
});
await step('DPoP: a bound access token at the API, and not as a bearer', async () => {
  const pair = await jose.generateKeyPair('ES256', { extractable: true });
  const DPoP = client.getDPoPHandle(config, pair);
  const granted = await client.clientCredentialsGrant(config, { scope: 'subjects:read' }, { DPoP });
  assert.equal(granted.token_type, 'dpop');
  const { payload } = await verify(granted.access_token, url, 'at+jwt');
  assert.equal(payload.cnf.jkt, await jose.calculateJwkThumbprint(await jose.exportJWK(pair.publicKey)));
  const list = new URL(`${url}/v1/subjects?limit=1`);
  for (let again = 0; again < 2; again++) {
    const used = await client.fetchProtectedResource(config, granted.access_token, list, 'GET', null, undefined, { DPoP });
    assert.equal(used.status, 200);
  }
  await assert.rejects(client.fetchProtectedResource(config, granted.access_token, list, 'GET'), (error) => {
    const challenge = error.cause.find((one) => one.scheme === 'bearer');
    assert.equal(challenge.parameters.error, 'invalid_token');
    assert.equal(challenge.parameters.resource_metadata, `${url}/.well-known/oauth-protected-resource`);
    return true;
  });
});
await step('DPoP with Ed25519: a bound eligibility token', async () => {
  const pair = await jose.generateKeyPair('Ed25519', { extractable: true });
  const granted = await exchange(config, {}, { DPoP: client.getDPoPHandle(config, pair) });
  assert.equal(granted.token_type, 'dpop');
  const { payload } = await verify(granted.access_token, 'edge', 'eligibility+jwt');
  assert.equal(payload.cnf.jkt, await jose.calculateJwkThumbprint(await jose.exportJWK(pair.publicKey)));
});
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
