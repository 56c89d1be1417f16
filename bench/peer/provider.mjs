// oidc-provider with a store in SQLite, as durable as ours: node provider.mjs PORT DATABASE RESOURCE
//
// Its own quick-start pages sign people in. Everything that Gatepost does and it can do is on: registration, PKCE for
// everybody, resource indicators with ES256 tokens, rotation of every refresh token, introspection.
import { DatabaseSync } from 'node:sqlite';
import { generateKeyPairSync } from 'node:crypto';
import { Provider } from 'oidc-provider';

const [port, file, resource] = process.argv.slice(2);

const database = new DatabaseSync(file);
database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL');
database.exec(`CREATE TABLE IF NOT EXISTS kept (
  model TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL, expires_at INTEGER, grant_id TEXT, uid TEXT,
  PRIMARY KEY (model, id)) WITHOUT ROWID`);
database.exec('CREATE INDEX IF NOT EXISTS kept_grant ON kept (grant_id) WHERE grant_id IS NOT NULL');
database.exec('CREATE INDEX IF NOT EXISTS kept_uid ON kept (model, uid) WHERE uid IS NOT NULL');
const upsert = database.prepare('INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?, ?)');
const find = database.prepare('SELECT payload, expires_at FROM kept WHERE model = ? AND id = ?');
const findByUid = database.prepare('SELECT payload, expires_at FROM kept WHERE model = ? AND uid = ?');
const consume = database.prepare("UPDATE kept SET payload = json_set(payload, '$.consumed', ?) WHERE model = ? AND id = ?");
const destroy = database.prepare('DELETE FROM kept WHERE model = ? AND id = ?');
const revoke = database.prepare('DELETE FROM kept WHERE grant_id = ?');
const now = () => Math.floor(Date.now() / 1000);
const living = (row) => (row && (row.expires_at === null || row.expires_at > now()) ? JSON.parse(row.payload) : undefined);

class Adapter {
  constructor(model) { this.model = model; }
  async upsert(id, payload, seconds) {
    const until = seconds ? now() + seconds : null;
    upsert.run(this.model, id, JSON.stringify(payload), until, payload.grantId ?? null, payload.uid ?? null);
  }
  async find(id) { return living(find.get(this.model, id)); }
  async findByUid(uid) { return living(findByUid.get(this.model, uid)); }
  async findByUserCode() { return undefined; }
  async consume(id) { consume.run(now(), this.model, id); }
  async destroy(id) { destroy.run(this.model, id); }
  async revokeByGrantId(grantId) { revoke.run(grantId); }
}

const key = (kind, alg, options) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg,
});
const scope = 'demo:read demo:echo';
const provider = new Provider(`http://localhost:${port}`, {
  adapter: Adapter,
  jwks: { keys: [key('rsa', 'RS256', { modulusLength: 2048 }), key('ec', 'ES256', { namedCurve: 'P-256' })] },
  cookies: { keys: ['of the bench alone'] },
  scopes: ['openid', 'offline_access', ...scope.split(' ')],
  clientDefaults: { token_endpoint_auth_method: 'none', grant_types: ['authorization_code', 'refresh_token'] },
  pkce: { required: () => true },
  rotateRefreshToken: () => true,
  issueRefreshToken: async () => true,
  expiresWithSession: async () => false,
  findAccount: async (_ctx, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  ttl: { AccessToken: 900, RefreshToken: 30 * 86400, Session: 86400, Grant: 86400, Interaction: 1800, AuthorizationCode: 60 },
  features: {
    devInteractions: { enabled: true },
    registration: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: async () => resource,
      useGrantedResource: async () => true,
      getResourceServerInfo: async () => ({
        scope, audience: resource, accessTokenTTL: 900, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
provider.listen(Number(port), '127.0.0.1');
