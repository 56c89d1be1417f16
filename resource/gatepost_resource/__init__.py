"""The resource server: MCP tools over streamable HTTP, shown and callable by the scopes of a token.

It shares nothing with the authorization server but the wire (RFC 8414 metadata, JWKS, RFC 9068 tokens, RFC 7662
introspection), so either can be replaced. A request walks down this list:

    serving       sockets, uvicorn, workers, a graceful stop; ``python -m gatepost_resource`` starts it
    app           the only place where the parts meet
    logs          the log, and one line for each request
    hosts         which Host is answered: 421
    origins       which Origin may call, and CORS: 403
    metadata      RFC 9728
    page          what a browser sees at the MCP URL
    challenge     who calls: 401, 503; the one writer of refusals
    slow_bodies   how long a body may take: 408
    stepup        what the call needs: 403 insufficient_scope
    short_way     what the SDK answered before is answered without its transport
    streams       the SDK's way that suits a request: one document, or a stream
    mcp_server    MCP itself, in both eras: the filtered list, the checked call
    demo          what the demo's tools do
    backends      what other servers' tools do: the operator's own, in a package of their own

and all of that stands on this:

    tools         the one table, tool to scope
    pages         a long list in pieces
    under_way     the calls that a notification can cancel
    verifier      a bearer becomes an access token, remembered until it expires
    access_token  what the header and the claims of one must look like
    jwks          the issuer's keys, fetched when they are needed
    introspection asks the issuer about bearers that are no JWT
    exchange      the caller's token becomes one for a backend; asks the issuer for it
    issuer        the issuer over HTTP: its metadata, and answers within bounds
    catalogue     the scopes of this resource
    latest        what is replaced as a whole while the server runs: the catalogue, the table of tools
    chores        what runs beside the requests, and goes on whatever happens to it
    drain         SIGTERM: readiness first
    settings      the environment, checked
    addresses     the caller's address behind proxies
    errors        every refusal an HTTP answer can carry
    urls          what can be read off a URL
    counts        what every request adds to; details shows it to the operator, metrics to Prometheus
"""
