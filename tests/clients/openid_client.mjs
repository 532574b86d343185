// The journey of a relying party with npm openid-client, unchanged. One JSON value a line: the first on stdin says who
// we are; each further one answers what was printed before. `test_openid_client.py` is the person and judges what is printed.
import { createInterface } from 'node:readline'
import * as client from 'openid-client'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const hear = async () => JSON.parse((await lines.next()).value)
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n')

// What a refusal looks like to the application.
const refused = async (promise) => {
  try {
    await promise
    return null
  } catch (error) {
    return { name: error.name, code: error.code ?? null, error: error.error ?? null }
  }
}

const authentications = {
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
  none: client.None,
}

const given = await hear()
const config = await client.discovery(
  new URL(given.issuer),
  given.client_id,
  undefined,
  authentications[given.auth](given.client_secret),
  { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] },
)

const pkceCodeVerifier = client.randomPKCECodeVerifier()
const expectedState = client.randomState()
const expectedNonce = client.randomNonce()
const url = client.buildAuthorizationUrl(config, {
  redirect_uri: given.redirect_uri,
  scope: given.scope,
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: 'S256',
  state: expectedState,
  nonce: expectedNonce,
  max_age: '300',
})
say({ authorization_url: url.href })

const { callback } = await hear()
const checks = { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 300, idTokenExpected: true }

// The same answer from an issuer that is not ours, or from nobody: refused before the code is sent anywhere.
const foreign = new URL(callback)
foreign.searchParams.set('iss', 'https://otro.example')
const nameless = new URL(callback)
nameless.searchParams.delete('iss')
const foreignIssuer = await refused(client.authorizationCodeGrant(config, foreign, checks))
const missingIssuer = await refused(client.authorizationCodeGrant(config, nameless, checks))

const tokens = await client.authorizationCodeGrant(config, new URL(callback), checks)
const claims = tokens.claims()
const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub)

const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
// RFC 7662 section 2.1: whoever asks must authenticate, which a public client cannot.
const introspected = given.auth === 'none' ? null : await client.tokenIntrospection(config, renewed.access_token)
await client.tokenRevocation(config, renewed.refresh_token)
const afterRevocation = await refused(client.refreshTokenGrant(config, renewed.refresh_token))

const end = client.buildEndSessionUrl(config, {
  post_logout_redirect_uri: given.post_logout_redirect_uri,
  id_token_hint: tokens.id_token,
  state: 'hasta-luego',
})

say({
  metadata: config.serverMetadata(),
  foreign_issuer: foreignIssuer,
  missing_issuer: missingIssuer,
  claims,
  expires_in: tokens.expires_in,
  scope: tokens.scope ?? given.scope,
  userinfo,
  renewed: renewed.access_token !== tokens.access_token && renewed.refresh_token !== tokens.refresh_token,
  introspected,
  after_revocation: afterRevocation,
  end_session_url: end.href,
})
process.exit(0)
