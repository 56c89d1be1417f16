"""The MCP resource server: MCP over streamable HTTP, where a token's scopes decide which tools it can list and call.

It shares only protocols with the authorization server (RFC 8414 metadata, JWKS, RFC 9068 tokens, RFC 7662
introspection, RFC 8693 token exchange), so either can be replaced. A request passes through these, in order:

    serving       sockets, uvicorn, workers, graceful shutdown; ``python -m gatepost_resource`` starts it
    app           the only module that wires the others together
    logs          the log, and one line per request
    hosts         which Host headers are answered; others get 421
    origins       which Origins may call, and CORS; others get 403
    metadata      protected resource metadata (RFC 9728)
    page          what a browser sees at the MCP URL
    challenge     verifies the caller: 401, 503; the one writer of bearer refusals
    slow_bodies   how long a request body may take: 408
    stepup        whether a call needs more scope: 403 insufficient_scope
    short_way     answers repeated requests without the SDK's transport
    streams       picks the form of the SDK's answer: one JSON document, or an SSE stream
    mcp_server    MCP itself, in both protocol eras: the filtered list, the checked call
    demo          this server's own tools
    backends      tools of the operator's other MCP servers, in a subpackage

They build on:

    tools         the one table of tools and their scopes
    pages         pagination of tool lists
    under_way     the calls that a notification can cancel
    verifier      turns a bearer into an access token, cached until it expires
    access_token  what a token's header and claims must look like
    jwks          the issuer's signing keys
    introspection asks the issuer about bearers that are not JWTs
    exchange      exchanges the caller's token for one for a backend, at the issuer
    issuer        HTTP to the issuer: its metadata, and answers bounded in time and size
    catalogue     the scopes and backends of this resource
    latest        values replaced as a whole while the server runs: the catalogue, the table of tools
    chores        background tasks, restarted when they fail
    drain         on SIGTERM, fails readiness before stopping
    settings      the environment, checked
    addresses     the caller's address behind proxies
    errors        every refusal an HTTP answer can carry
    plain_words   plain-text answers for unknown addresses, wrong methods and faults
    urls          reads and derives URLs
    counts        in-memory counters; details shows them to the operator, metrics formats them for Prometheus
"""
