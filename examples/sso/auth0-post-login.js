/**
 * Auth0, post-login Action: eligibility as a claim of ID and access tokens, from Vouchsafe's `/sso/userinfo`.
 *
 * Secrets of the Action: VOUCHSAFE_URL, VOUCHSAFE_CLIENT_ID, VOUCHSAFE_CLIENT_SECRET (a client with `sso:claims` of the
 * identity provider whose namespace holds the users' ids), VOUCHSAFE_RESOURCE. Whatever goes wrong, the claim says no.
 */
const CLAIM = 'https://vouchsafe.example/eligibility';
const PATIENCE_MS = 2000;
const KEY = 'vouchsafe-token';

async function post(url, headers, body) {
  const response = await fetch(url, {
    method: 'POST', headers, body, redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.status !== 200) throw new Error(`${response.status}`);
  return response.json();
}

/** An access token, kept in Auth0's cache for nine of its ten minutes. */
async function token(secrets, cache) {
  const kept = cache.get(KEY);
  if (kept) return kept.value;
  const credentials = Buffer.from(`${secrets.VOUCHSAFE_CLIENT_ID}:${secrets.VOUCHSAFE_CLIENT_SECRET}`).toString('base64');
  const headers = { Authorization: `Basic ${credentials}`, 'Content-Type': 'application/x-www-form-urlencoded' };
  const body = 'grant_type=client_credentials&scope=sso:claims';
  const { access_token } = await post(`${secrets.VOUCHSAFE_URL}/oauth2/token`, headers, body);
  cache.set(KEY, access_token, { ttl: 540000 });
  return access_token;
}

exports.onExecutePostLogin = async (event, api) => {
  let eligibility = { allowed: false };
  try {
    const { secrets } = event;
    const headers = { Authorization: `Bearer ${await token(secrets, api.cache)}`, 'Content-Type': 'application/json' };
    const asked = { sub: event.user.user_id, resource: secrets.VOUCHSAFE_RESOURCE };
    if (event.request && event.request.ip) asked.address = event.request.ip;
    const told = await post(`${secrets.VOUCHSAFE_URL}/sso/userinfo`, headers, JSON.stringify(asked));
    if (told.sub === asked.sub && told.eligibility.allowed === true) eligibility = told.eligibility;
  } catch (error) {
    // A token that was refused is not asked with again.
    api.cache.delete(KEY);
    console.log(`eligibility cannot be known: ${error.message}`);
  }
  // An access token may outlive the answer: the application compares `valid_until` too.
  api.idToken.setCustomClaim(CLAIM, eligibility);
  api.accessToken.setCustomClaim(CLAIM, eligibility);
};
