// The plain MCP server of the TypeScript SDK with six tools, on both wires: node mcp.mjs PORT ISSUER RESOURCE
//
// Built as its documentation shows: a server for each request; each token's signature is verified.
import { createServer } from 'node:http';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { z } from 'zod';

const [port, issuer, resource] = process.argv.slice(2);
const keys = createLocalJWKSet(await (await fetch(`${issuer}/jwks.json`)).json());
const about = { description: 'Answers with what it was sent.', inputSchema: z.object({ text: z.string() }) };

const handle = toNodeHandler(createMcpHandler(() => {
  const server = new McpServer({ name: 'plain', version: '1' });
  for (const name of ['demo_echo', 'tool_0', 'tool_1', 'tool_2', 'tool_3', 'tool_4']) {
    server.registerTool(name, about, async ({ text }) => ({ content: [{ type: 'text', text }] }));
  }
  return server;
}));

createServer(async (request, response) => {
  if (request.method === 'GET') { response.end('ok'); return; }
  try {
    const token = (request.headers.authorization ?? '').replace('Bearer ', '');
    await jwtVerify(token, keys, { issuer, audience: resource, algorithms: ['ES256'] });
  } catch {
    response.writeHead(401).end();
    return;
  }
  await handle(request, response);
}).listen(Number(port), '127.0.0.1');
