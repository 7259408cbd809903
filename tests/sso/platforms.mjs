// Runs one snippet as its platform would: `node platforms.mjs FOLDER PLATFORM USER`.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';

const [folder, platform, user] = process.argv.slice(2);
console.log = (...words) => console.error(...words);

async function auth0() {
  const { onExecutePostLogin } = createRequire(import.meta.url)(`${folder}/auth0-post-login.js`);
  const held = new Map();
  const told = { id: {}, access: {} };
  const api = {
    cache: {
      get: (key) => (held.has(key) ? { value: held.get(key) } : undefined),
      set: (key, value) => { held.set(key, value); return { type: 'success' }; },
      delete: (key) => { held.delete(key); return { type: 'success' }; },
    },
    idToken: { setCustomClaim: (name, value) => { told.id[name] = value; } },
    accessToken: { setCustomClaim: (name, value) => { told.access[name] = value; } },
    access: { deny: () => { throw new Error('not used'); } },
  };
  const event = { secrets: process.env, user: { user_id: user || undefined }, request: { ip: '203.0.113.7' } };
  await onExecutePostLogin(event, api);
  // A second sign-in uses the cached token.
  await onExecutePostLogin(event, api);
  const [name] = Object.keys(told.id);
  if (JSON.stringify(told.id) !== JSON.stringify(told.access)) throw new Error('two tokens, two answers');
  return told.id[name];
}

async function cognito(version) {
  const { handler } = await import(pathToFileURL(`${folder}/cognito-pre-token-generation.mjs`));
  const event = {
    version, triggerSource: 'TokenGeneration_Authentication', region: 'us-east-1', userPoolId: 'us-east-1_Example',
    userName: 'ada', callerContext: { awsSdkVersion: 'x', clientId: 'portal' },
    request: { userAttributes: user ? { sub: user, email: 'ada@example.com' } : {}, groupConfiguration: {}, scopes: ['openid'] },
    response: {},
  };
  const { response } = await handler(event);
  const details = version === '1'
    ? [response.claimsOverrideDetails]
    : [response.claimsAndScopeOverrideDetails.idTokenGeneration, response.claimsAndScopeOverrideDetails.accessTokenGeneration];
  const [claims] = details.map((detail) => detail.claimsToAddOrOverride);
  for (const detail of details) {
    const texts = Object.values(detail.claimsToAddOrOverride);
    if (!texts.every((text) => typeof text === 'string')) throw new Error('Cognito takes texts');
    if (JSON.stringify(detail.claimsToAddOrOverride) !== JSON.stringify(claims)) throw new Error('two answers');
  }
  return { allowed: claims.eligibility === 'true', valid_until: claims.eligibility_valid_until };
}

// What the mapper uses of Java, over curl.
const java = {
  'java.net.URI': { create: (text) => text },
  'java.time.Duration': { ofMillis: (millis) => millis },
  'java.lang.String': class { constructor(text) { this.text = text; } getBytes() { return Buffer.from(this.text, 'utf8'); } },
  'java.util.Base64': { getEncoder: () => ({ encodeToString: (bytes) => Buffer.from(bytes).toString('base64') }) },
  'java.net.http.HttpResponse$BodyHandlers': { ofString: () => null },
  'java.net.http.HttpRequest$BodyPublishers': { ofString: (text) => text },
  'java.net.http.HttpRequest': {
    newBuilder: (url) => {
      const request = { url, headers: [] };
      const builder = {
        timeout: (millis) => { request.millis = millis; return builder; },
        header: (name, value) => { request.headers.push('-H', `${name}: ${value}`); return builder; },
        POST: (body) => { request.body = body; return builder; },
        build: () => request,
      };
      return builder;
    },
  },
  'java.net.http.HttpClient': {
    newBuilder: () => ({
      connectTimeout() { return this; },
      build: () => ({
        send: (request) => {
          const out = execFileSync('curl', ['-s', '--max-time', String(request.millis / 1000), '-w', '\n%{http_code}',
            ...request.headers, '--data-binary', request.body, request.url], { encoding: 'utf8' });
          const cut = out.lastIndexOf('\n');
          return { statusCode: () => Number(out.slice(cut + 1)), body: () => out.slice(0, cut) };
        },
      }),
    }),
  },
};

function keycloak() {
  const settings = {
    'vouchsafe.url': process.env.VOUCHSAFE_URL, 'vouchsafe.client_id': process.env.VOUCHSAFE_CLIENT_ID,
    'vouchsafe.client_secret': process.env.VOUCHSAFE_CLIENT_SECRET, 'vouchsafe.resource': process.env.VOUCHSAFE_RESOURCE,
  };
  const context = vm.createContext({
    Java: { type: (name) => java[name] }, realm: { getAttribute: (name) => settings[name] ?? null },
    user: { getId: () => user }, exports: undefined,
  });
  vm.runInContext(readFileSync(`${folder}/keycloak-eligibility-mapper.js`, 'utf8'), context);
  return JSON.parse(context.exports);
}

const [name, version] = platform.split('-');
const answer = await { auth0, cognito: () => cognito(version), keycloak }[name]();
process.stdout.write(answer.allowed === true ? `true${Number(answer.valid_until) > 0 ? ' until' : ''}\n` : 'false\n');
