// better-auth's oauth-provider on SQLite, as durable as ours: node better-auth.mjs PORT DATABASE RESOURCE
//
// People sign up with a password, since that is its quickest way in. Its own rate limit is off, which favours it.
import { createServer } from 'node:http';
import { DatabaseSync } from 'node:sqlite';
import { oauthProvider } from '@better-auth/oauth-provider';
import { betterAuth } from 'better-auth';
import { getMigrations } from 'better-auth/db/migration';
import { toNodeHandler } from 'better-auth/node';
import { jwt } from 'better-auth/plugins';

const [port, file, resource] = process.argv.slice(2);

const database = new DatabaseSync(file);
database.exec('PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL');

const auth = betterAuth({
  baseURL: `http://localhost:${port}`,
  basePath: '/auth',
  secret: 'of the bench alone, and of no other use',
  database,
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  disabledPaths: ['/token'],
  plugins: [
    jwt({ jwks: { keyPairConfig: { alg: 'ES256' } }, disableSettingJwtHeader: true }),
    oauthProvider({
      loginPage: '/sign-in',
      consentPage: '/consent',
      scopes: ['openid', 'offline_access', 'demo:read', 'demo:echo'],
      allowDynamicClientRegistration: true,
      allowUnauthenticatedClientRegistration: true,
      resources: [{ identifier: resource }],
      clientRegistrationDefaultResources: [resource],
      accessTokenExpiresIn: 900,
      codeExpiresIn: 60,
      refreshTokenExpiresIn: 30 * 86400,
      silenceWarnings: { oauthAuthServerConfig: true, openidConfig: true },
    }),
  ],
});
await (await getMigrations(auth.options)).runMigrations();
createServer(toNodeHandler(auth)).listen(Number(port), '127.0.0.1');
