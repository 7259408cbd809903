/**
 * Amazon Cognito, pre token generation Lambda (event versions 1, 2 and 3; Node.js 20 or newer): eligibility as claims, from
 * Vouchsafe's `/sso/userinfo`.
 *
 * Environment: VOUCHSAFE_URL, VOUCHSAFE_CLIENT_ID, VOUCHSAFE_CLIENT_SECRET (a client with `sso:claims`; read the secret
 * from Secrets Manager where you have it), VOUCHSAFE_RESOURCE. Whatever goes wrong, the claim says no. Cognito waits five
 * seconds for the Lambda; a Lambda that fails has nobody sign in.
 */
const PATIENCE_MS = 1500;
let kept = { token: '', until: 0 };

async function post(url, headers, body) {
  const response = await fetch(url, {
    method: 'POST', headers, body, redirect: 'error', signal: AbortSignal.timeout(PATIENCE_MS),
  });
  if (response.status !== 200) throw new Error(`${response.status}`);
  return response.json();
}

async function token(environment) {
  if (Date.now() < kept.until) return kept.token;
  const credentials = Buffer.from(`${environment.VOUCHSAFE_CLIENT_ID}:${environment.VOUCHSAFE_CLIENT_SECRET}`);
  const headers = {
    Authorization: `Basic ${credentials.toString('base64')}`, 'Content-Type': 'application/x-www-form-urlencoded',
  };
  const body = 'grant_type=client_credentials&scope=sso:claims';
  const told = await post(`${environment.VOUCHSAFE_URL}/oauth2/token`, headers, body);
  kept = { token: told.access_token, until: Date.now() + 540000 };
  return kept.token;
}

async function ask(environment, sub) {
  const headers = { Authorization: `Bearer ${await token(environment)}`, 'Content-Type': 'application/json' };
  const body = JSON.stringify({ sub, resource: environment.VOUCHSAFE_RESOURCE });
  const told = await post(`${environment.VOUCHSAFE_URL}/sso/userinfo`, headers, body);
  return told.sub === sub && told.eligibility.allowed === true ? told.eligibility : null;
}

export const handler = async (event) => {
  const claims = { eligibility: 'false' };
  try {
    // `sub` never changes; user names and addresses may. A client that gets a token for itself has none.
    const sub = event.request.userAttributes?.sub;
    const eligible = sub ? await ask(process.env, sub) : null;
    if (eligible) {
      claims.eligibility = 'true';
      claims.eligibility_valid_until = String(eligible.valid_until);
    }
  } catch (error) {
    kept = { token: '', until: 0 };
    console.log(`eligibility cannot be known: ${error.message}`);
  }
  const tokens = { claimsToAddOrOverride: claims };
  event.response = event.version === '1'
    ? { claimsOverrideDetails: tokens }
    : { claimsAndScopeOverrideDetails: { idTokenGeneration: tokens, accessTokenGeneration: { ...tokens } } };
  return event;
};
