// The plain MCP server of the TypeScript SDK with six tools: node mcp.mjs PORT ISSUER RESOURCE
//
// Stateless, as its own example is: a server and a transport for each request; each token's signature is verified.
import { createServer } from 'node:http';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { z } from 'zod';

const [port, issuer, resource] = process.argv.slice(2);
const keys = createLocalJWKSet(await (await fetch(`${issuer}/jwks.json`)).json());

function made() {
  const server = new McpServer({ name: 'plain', version: '1' });
  for (const name of ['demo_echo', 'tool_0', 'tool_1', 'tool_2', 'tool_3', 'tool_4']) {
    const about = { description: 'Answers with what it was sent.', inputSchema: { text: z.string() } };
    server.registerTool(name, about, async ({ text }) => ({ content: [{ type: 'text', text }] }));
  }
  return server;
}

createServer(async (request, response) => {
  if (request.method === 'GET') { response.end('ok'); return; }
  try {
    const token = (request.headers.authorization ?? '').replace('Bearer ', '');
    await jwtVerify(token, keys, { issuer, audience: resource, algorithms: ['ES256'] });
  } catch {
    response.writeHead(401).end();
    return;
  }
  const server = made();
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  response.on('close', () => { transport.close(); server.close(); });
  await server.connect(transport);
  await transport.handleRequest(request, response);
}).listen(Number(port), '127.0.0.1');
