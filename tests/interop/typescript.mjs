// A program around one of the MCP TypeScript packages: reads commands as lines of JSON, answers each with one line.

import { createInterface } from "node:readline";

const [name, mode, url, redirect, document] = process.argv.slice(2);
const sdk = name === "sdk" ? await sdkOne() : await import("@modelcontextprotocol/client");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const requests = [];

async function sdkOne() {
  const parts = ["client/index.js", "client/streamableHttp.js", "client/auth.js"];
  const loaded = await Promise.all(parts.map((part) => import(`@modelcontextprotocol/sdk/${part}`)));
  return Object.assign({}, ...loaded);
}

// What an application must provide: it stores what it is given, and knows only its own URL.
class Application {
  redirectUrl = redirect;
  clientMetadataUrl = document;
  clientMetadata = { client_name: "TypeScript client", redirect_uris: [redirect] };
  state = () => (this.expected = crypto.randomUUID());
  clientInformation = () => this.client;
  saveClientInformation = (client) => { this.client = client; };
  tokens = () => this.kept;
  saveTokens = (tokens) => { this.kept = tokens; };
  codeVerifier = () => this.verifier;
  saveCodeVerifier = (verifier) => { this.verifier = verifier; };
  discoveryState = () => this.discovered;
  saveDiscoveryState = (state) => { this.discovered = state; };
  redirectToAuthorization = (address) => { this.asked = address; };
}

const application = new Application();
let client, transport;

async function watched(input, init) {
  const answer = await fetch(input, init);
  requests.push([init?.method ?? "GET", new URL(input).pathname, answer.status]);
  return answer;
}

async function connect() {
  const options = name === "sdk" ? {} : { versionNegotiation: { mode } };
  client = new sdk.Client({ name: "typescript", version: "1" }, options);
  transport = new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider: application, fetch: watched });
  await client.connect(transport);
  return {};
}

// Does `work`; if the package needs a person first, has the URL opened and does it again.
async function withPerson(work) {
  try {
    return await work();
  } catch (problem) {
    if (!(problem instanceof sdk.UnauthorizedError)) throw problem;
    say({ open: application.asked.href });
    const answer = new URL((await next()).callback).searchParams;
    if (answer.get("state") !== application.expected) throw new Error("another state came back");
    await (name === "sdk" ? transport.finishAuth(answer.get("code")) : transport.finishAuth(answer));
    return await work();
  }
}

const commands = {
  connect: () => withPerson(connect),
  list: async () => ({ tools: (await client.listTools()).tools.map((tool) => tool.name) }),
  call: ({ tool, given }) => withPerson(() => client.callTool({ name: tool, arguments: given })),
  // The server no longer accepts the access token, as if it had expired.
  outlive: () => { application.kept = { ...application.kept, access_token: "outlived" }; return {}; },
  kept: () => application.kept,
  requests: () => ({ requests: requests.splice(0) }),
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const next = async () => JSON.parse((await lines.next()).value ?? '{"command": "end"}');

for (let asked = await next(); asked.command !== "end"; asked = await next()) {
  try {
    say(await commands[asked.command](asked));
  } catch (problem) {
    say({ problem: String(problem) });
  }
}
process.exit();
