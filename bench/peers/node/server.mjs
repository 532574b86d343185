// oidc-provider, as its documentation sets it up: one process with its in-memory adapter, or, with REDIS_URL, two
// processes of Node's cluster over Redis. BENCH_SETTINGS names a JSON file with port, client and key.
import cluster from 'node:cluster';
import { readFileSync } from 'node:fs';
import process from 'node:process';

import Provider from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.env.BENCH_SETTINGS, 'utf8'));
const issuer = `http://127.0.0.1:${settings.port}`;

const configuration = {
  clients: [{
    client_id: settings.client_id,
    client_secret: settings.client_secret,
    redirect_uris: [settings.redirect_uri],
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    id_token_signed_response_alg: 'ES256',
    scope: 'openid profile email offline_access api:read keep',
  }],
  jwks: { keys: [settings.jwk] },
  cookies: { keys: [settings.cookie_key] },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'api:read', 'keep'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'locale', 'preferred_username'] },
  conformIdTokenClaims: true,
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
  },
  pkce: { required: () => true },
  // By a scope of ours, so that a browser that is signed in gets one without being asked again.
  issueRefreshToken: async (_ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('keep'),
  rotateRefreshToken: true,
  ttl: { AccessToken: 300, ClientCredentials: 300, AuthorizationCode: 60, IdToken: 300, RefreshToken: 86400,
    Interaction: 3600, Session: 86400, Grant: 86400 },
  async findAccount(_ctx, sub) {
    return {
      accountId: sub,
      async claims() {
        return { sub, email: `${sub}@cliente.example`, email_verified: true, name: sub, locale: 'es-MX',
          preferred_username: sub };
      },
    };
  },
};

async function serve() {
  if (process.env.REDIS_URL) {
    configuration.adapter = (await import('./redis_adapter.mjs')).default;
  }
  const provider = new Provider(issuer, configuration);
  provider.listen(settings.port, '127.0.0.1');
}

if (process.env.REDIS_URL && cluster.isPrimary) {
  for (let worker = 0; worker < 2; worker += 1) cluster.fork();
} else {
  await serve();
}
