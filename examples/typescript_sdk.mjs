// Notes behind Gatepost, with the MCP TypeScript SDK: npm install @modelcontextprotocol/sdk express jose zod.

import { InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { z } from "zod";

const issuer = process.env.OAUTH_ISSUER; // https://auth.example.com
const resource = process.env.MCP_RESOURCE_URL; // https://notes.example.com/mcp, as people paste it
const { origin, pathname } = new URL(resource);
const metadata = `/.well-known/oauth-protected-resource${pathname}`;
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks.json`), { cooldownDuration: 10_000 });
const notes = new Map();

async function verifyAccessToken(token) {
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience: resource, // else a token for another server would be accepted here
      algorithms: ["ES256"], // the token's own `alg` chooses nothing
      typ: "at+jwt", // an id token is signed by the same keys
      requiredClaims: ["exp", "sub", "client_id"],
    });
    const scopes = (payload.scope ?? "").split(" ").filter(Boolean);
    return { token, clientId: payload.client_id, scopes, expiresAt: payload.exp, extra: { subject: payload.sub } };
  } catch (problem) {
    if (problem instanceof errors.JOSEError) throw new InvalidTokenError("The access token is not valid here");
    throw problem;
  }
}

// The caller's id; a tool that needs more than requiredScopes asks for it here.
function caller({ authInfo }, scope) {
  if (!authInfo?.scopes.includes(scope)) throw new Error(`This needs the scope ${scope}.`);
  return authInfo.extra.subject;
}

function server() {
  const made = new McpServer({ name: "Notes", version: "1.0.0" });
  made.registerTool("read_notes", { description: "The caller's own notes." }, async (context) => ({
    content: [{ type: "text", text: JSON.stringify(notes.get(caller(context, "notes:read")) ?? []) }],
  }));
  const input = { description: "Adds a note.", inputSchema: { text: z.string() } };
  made.registerTool("write_note", input, async ({ text }, context) => {
    const who = caller(context, "notes:write");
    notes.set(who, [...(notes.get(who) ?? []), text]);
    return { content: [{ type: "text", text: "written" }] };
  });
  return made;
}

const app = express();
app.get(metadata, (_, answer) => {
  answer.set("Access-Control-Allow-Origin", "*");
  answer.json({ resource, authorization_servers: [issuer], scopes_supported: ["notes:read", "notes:write"] });
});
app.use(
  pathname,
  requireBearerAuth({
    verifier: { verifyAccessToken },
    requiredScopes: ["notes:read"],
    resourceMetadataUrl: `${origin}${metadata}`,
  }),
  express.json(),
);
app.post(pathname, async (request, answer) => {
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  await server().connect(transport);
  await transport.handleRequest(request, answer, request.body);
});
app.all(pathname, (_, answer) => answer.set("Allow", "POST").status(405).end());
app.listen(Number(process.env.PORT ?? 9001), "127.0.0.1");
