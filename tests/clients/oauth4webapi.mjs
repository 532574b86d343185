// The journey of a relying party with npm oauth4webapi, unchanged: the low-level library, every check called by name.
// One JSON value a line, as in openid_client.mjs; `test_oauth4webapi.py` is the person and judges what is printed.
import { createInterface } from 'node:readline'
import * as oauth from 'oauth4webapi'

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const hear = async () => JSON.parse((await lines.next()).value)
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n')
const loopback = { [oauth.allowInsecureRequests]: true }

const given = await hear()
const client = { client_id: given.client_id, ...given.metadata }
const authentications = {
  client_secret_basic: () => oauth.ClientSecretBasic(given.client_secret),
  client_secret_post: () => oauth.ClientSecretPost(given.client_secret),
  none: () => oauth.None(),
}
const authentication = authentications[given.auth]()

const issuer = new URL(given.issuer)
const server = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oidc', ...loopback }),
)
// RFC 8414: the same document at the address of plain OAuth.
const plain = await oauth.processDiscoveryResponse(
  issuer,
  await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...loopback }),
)

const verifier = oauth.generateRandomCodeVerifier()
const state = oauth.generateRandomState()
const nonce = oauth.generateRandomNonce()
const url = new URL(server.authorization_endpoint)
for (const [name, value] of Object.entries({
  client_id: given.client_id,
  redirect_uri: given.redirect_uri,
  response_type: 'code',
  scope: given.scope,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
  nonce,
})) {
  url.searchParams.set(name, value)
}
say({ authorization_url: url.href })

const { callback } = await hear()
const answer = oauth.validateAuthResponse(server, client, new URL(callback), state)
const tokens = await oauth.processAuthorizationCodeResponse(
  server,
  client,
  await oauth.authorizationCodeGrantRequest(
    server, client, authentication, answer, given.redirect_uri, verifier, loopback,
  ),
  { expectedNonce: nonce, requireIdToken: true },
)
const claims = oauth.getValidatedIdTokenClaims(tokens)
const userinfo = await oauth.processUserInfoResponse(
  server, client, claims.sub, await oauth.userInfoRequest(server, client, tokens.access_token, loopback),
)

// A code is good once: the second answer is a refusal that the library can read.
const again = await oauth
  .authorizationCodeGrantRequest(server, client, authentication, answer, given.redirect_uri, verifier, loopback)
  .then((response) => oauth.processAuthorizationCodeResponse(server, client, response))
  .then(() => null, (error) => error.error ?? error.code)

say({ plain_is_the_same: JSON.stringify(plain) === JSON.stringify(server), claims, userinfo, again })

// The code that came twice has ended all that came of it, so a second sign-in is what gets refreshed.
const second = await hear()
const fresh = await oauth.processAuthorizationCodeResponse(
  server,
  client,
  await oauth.authorizationCodeGrantRequest(
    server,
    client,
    authentication,
    oauth.validateAuthResponse(server, client, new URL(second.callback), state),
    given.redirect_uri,
    verifier,
    loopback,
  ),
  { expectedNonce: nonce, requireIdToken: true },
)
const renewed = await oauth.processRefreshTokenResponse(
  server, client, await oauth.refreshTokenGrantRequest(server, client, authentication, fresh.refresh_token, loopback),
)
await oauth.processRevocationResponse(
  await oauth.revocationRequest(server, client, authentication, renewed.refresh_token, loopback),
)
const afterRevocation = await oauth
  .refreshTokenGrantRequest(server, client, authentication, renewed.refresh_token, loopback)
  .then((response) => oauth.processRefreshTokenResponse(server, client, response))
  .then(() => null, (error) => error.error ?? error.code)

const end = new URL(server.end_session_endpoint)
for (const [name, value] of Object.entries({
  id_token_hint: fresh.id_token,
  client_id: given.client_id,
  post_logout_redirect_uri: given.post_logout_redirect_uri,
  state: 'hasta-luego',
})) {
  end.searchParams.set(name, value)
}
say({
  renewed: renewed.access_token !== fresh.access_token && renewed.refresh_token !== fresh.refresh_token,
  after_revocation: afterRevocation,
  end_session_url: end.href,
})
process.exit(0)
