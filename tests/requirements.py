"""What OAuth, OpenID Connect and MCP require of the two servers: every clause in our own words, with its source.

A test names the clauses that it covers: ``@pytest.mark.clause("A1.s256-only")``. ``tests/test_requirements.py`` checks
both directions: every clause that a test names is here, and every clause here has a test. A head (``A1``) is covered
if a test names it or one of its parts (``A1.s256-only``).

The groups: A, the authorization server; R, the resource server; E, the form of errors; C, when a remembered consent
may replace asking; P, what comparable servers got wrong and no RFC mentions. Sign-in by mail has no clauses: no
standard describes it, and tests/idp/signin says what it does.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["MUST", "SHOULD", "MAY", "OURS"]
"""RFC 2119's words as the source uses them; OURS: promised by this product, required by no source."""

OAUTH = "OAuth 2.1 (draft-ietf-oauth-v2-1)"
MCP = "MCP 2026-07-28, authorization"
CIMD = "draft-ietf-oauth-client-id-metadata-document-01"


@dataclass(frozen=True, slots=True)
class Clause:
    """One requirement. ``not_yet`` says why it is not met so far; no test may then claim that it is."""

    id: str
    level: Level
    text: str
    source: str
    not_yet: str = ""

    @property
    def head(self) -> str:
        """The clause that this one is part of, or itself."""
        return self.id.partition(".")[0]


_AUTHORIZATION = (
    Clause("A1", "MUST", "Authorization codes for public and confidential clients.", f"{OAUTH} 2.1, 4.1; {MCP}"),
    Clause("A1.pkce-required", "MUST", "A request without a code_challenge is refused.", f"{OAUTH} 4.1.1; {MCP}"),
    Clause("A1.s256-only", "MUST", "`plain`, and a challenge without a method, are refused.", "RFC 9700 2.1.1; " + MCP),
    Clause("A1.s256-advertised", "MUST", "Metadata lists S256 and nothing else.", f"RFC 8414 2; {MCP}"),
    Clause("A1.verifier", "MUST", "A code is redeemed only with the verifier of its challenge.", "RFC 7636 4.6"),
    Clause("A1.client-authentication", "MUST", "A client that has a secret authenticates with it.", "RFC 6749 3.2.1"),
    Clause(
        "A1.no-secret",
        "OURS",
        "A secret from a client that was given none proves nothing and is ignored.",
        "RFC 6749 2.3",
    ),
    Clause("A1.response-type", "MUST", "`code` is the only response type.", f"{OAUTH} 4.1.1"),
    Clause("A1.person", "MUST", "Nobody gets a code before signing in.", "RFC 6749 3.1"),
    Clause("A1.guessing", "MUST", "Guessing secrets or mailed codes is stopped.", "RFC 6749 2.3.1, 10.10"),
    Clause("A1.see-other", "MUST", "A form is answered by a 303 or a page, never by a 307.", "RFC 9700 4.12"),
    Clause("A2", "MUST", "A client finds the metadata without being told where.", f"RFC 8414 3; {MCP}"),
    Clause("A2.rfc8414", "MUST", "The document satisfies an independent reader of RFC 8414.", "RFC 8414 2"),
    Clause("A2.oidc", "MUST", "The OpenID configuration has its required members.", "OIDC Discovery 1.0, 3"),
    Clause("A2.no-empty", "MUST", "No member of the document is an empty array.", "RFC 8414 3.2"),
    Clause("A2.https", "MUST", "A public issuer or resource is https; plain http is for loopback only.", "RFC 8414 2"),
    Clause("A2.issuer-bytes", "MUST", "`issuer` is the configured value, byte for byte.", "RFC 8414 3.3; RFC 9207 2.4"),
    Clause("A2.forms", "MUST", "Root, path-inserted and appended URLs answer alike.", f"RFC 8414 3, 5; {MCP}"),
    Clause(
        "A2.head", "OURS", "HEAD is answered like GET, without the body: Gemini CLI probes with it.", "RFC 9110 9.3.2"
    ),
    Clause(
        "A2.issuer-path", "MUST", "An issuer with a path works whether or not a proxy strips the path.", "RFC 8414 3.1"
    ),
    Clause("A3", "MUST", "Responses go only to registered redirect URIs.", "RFC 9700 2.1"),
    Clause("A3.exact", "MUST", "Redirect URIs are compared as strings, without normalization.", "RFC 9700 4.1.3"),
    Clause("A3.loopback-port", "MUST", "The port is ignored for a loopback address, and only there.", "RFC 8252 7.3"),
    Clause("A3.loopback-apart", "MUST", "127.0.0.1, [::1] and localhost do not stand for one another.", "RFC 8252 8.3"),
    Clause("A3.accepted", "MUST", "https, http on loopback and private-use schemes may be registered.", "RFC 8252 7"),
    Clause(
        "A3.never",
        "MUST",
        "Script, data and file schemes, user information, fragments and wildcards are refused.",
        "RFC 9700 4.1",
    ),
    Clause(
        "A3.no-open-redirect",
        "MUST",
        "If the client or the redirect URI is invalid: a page, no redirect.",
        "RFC 6749 4.1.2.1",
    ),
    Clause(
        "A3.unseen",
        "MUST",
        "No error takes people unseen to a URI that anybody may have registered.",
        "RFC 9700 4.11.2",
    ),
    Clause("A3.said", "OURS", "The error page shows what was received and what is registered.", "RFC 6749 3.1.2.4"),
    Clause(
        "A4",
        "SHOULD",
        "A client may be identified by the URL of its metadata document.",
        CIMD,
    ),
    Clause("A4.advertised", "MUST", "Metadata says that such clients are accepted.", f"{CIMD}: Metadata; {MCP}"),
    Clause("A4.said", "OURS", "The person reads which URL is wrong and why; /token answers invalid_client.", CIMD),
    Clause(
        "A4.public",
        "MUST",
        "A document names its own URL, needs no shared secret and works with PKCE alone.",
        f"{CIMD} 4.1",
    ),
    Clause(
        "A4.fetch",
        "MUST",
        "Only 200 with JSON counts, at most 5 KiB in 5 s; nothing is followed, not even a redirect.",
        f"{CIMD} 4, 6.6",
    ),
    Clause("A4.addresses", "MUST", "Special-use IP addresses are refused, however they are written.", f"{CIMD} 6.5"),
    Clause(
        "A4.cache",
        "SHOULD",
        "Documents are cached as HTTP says, within bounds; a stale one serves if a fetch fails.",
        f"{CIMD} 4.4",
    ),
    Clause("A4.pinned", "OURS", "Well-known documents have a built-in copy for when they cannot be fetched.", CIMD),
    Clause(
        "A4.bounded", "OURS", "Nobody can make this server flood a host, or exhaust itself with fetches.", f"{CIMD} 6.5"
    ),
    Clause("A4.changed", "SHOULD", "Changed metadata needs consent again.", f"{CIMD} 6.3"),
    Clause("A4.disabled", "OURS", "A URL that the operator disabled is refused in all its versions.", CIMD),
    Clause("A5", "MAY", "A client can register itself.", "RFC 7591 3; " + MCP),
    Clause("A5.public", "MAY", "A client that requests no auth method is public, and is told so.", "RFC 7591 2, 3.2.1"),
    Clause("A5.methods", "MAY", "none, client_secret_basic and client_secret_post are supported.", "RFC 7591 2"),
    Clause("A5.ignored", "MUST", "Unknown members and grant types are left out.", "RFC 7591 2"),
    Clause(
        "A5.consistent", "SHOULD", "Grant and response types are consistent, whatever was requested.", "RFC 7591 2.1"
    ),
    Clause(
        "A5.some-redirects",
        "OURS",
        "One bad redirect URI does not spoil the good ones (Cursor sends both).",
        "RFC 7591 2",
    ),
    Clause("A5.no-redirect", "MUST", "No acceptable redirect URI: 400 invalid_redirect_uri.", "RFC 7591 3.2.2"),
    Clause(
        "A5.echo",
        "MUST",
        "The response has the effective metadata, and redirect URIs as they were sent.",
        "RFC 7591 3.2.1",
    ),
    Clause("A5.created", "MUST", "201 with no-store.", "RFC 7591 3.2.1"),
    Clause("A5.bad-input", "MUST", "Invalid metadata gets a 400 with an RFC 7591 error.", "RFC 7591 3.2.2"),
    Clause("A5.secret", "MUST", "A secret is shown once, is long, and is stored as a hash.", "RFC 6819 5.1.4.1.3"),
    Clause(
        "A5.one-kind",
        "OURS",
        "Registrations of one kind share a row; each has its own id, which is stored nowhere.",
        "RFC 7591 3",
    ),
    Clause("A5.forged-id", "OURS", "An id that was never issued is unknown, however well it is forged.", "RFC 7591 5"),
    Clause(
        "A5.disabled",
        "OURS",
        "A kind that the operator disabled is refused, under old ids and new ones.",
        "RFC 7591 3.2.2",
    ),
    Clause("A6", "SHOULD", "Authorization responses say which server sent them.", "RFC 9207"),
    Clause("A6.code", "SHOULD", "`iss` accompanies the code.", "RFC 9207 2"),
    Clause("A6.error", "SHOULD", "`iss` accompanies an error.", "RFC 9207 2"),
    Clause("A6.advertised", "MUST", "Metadata announces `iss`.", "RFC 9207 3"),
    Clause("A7", "MUST", "A token is for one resource.", f"RFC 8707; {MCP}"),
    Clause("A7.bound", "MUST", "The resource named at /authorize is the audience of the tokens.", "RFC 8707 2, 2.2"),
    Clause("A7.token", "MUST", "Another resource at /token or at a refresh gets invalid_target.", "RFC 8707 2.2"),
    Clause(
        "A7.unknown", "MUST", "An unknown resource gets invalid_target; the log says which are allowed.", "RFC 8707 2"
    ),
    Clause(
        "A7.default",
        "OURS",
        "Without a resource, the default one applies, and the person is always asked.",
        "RFC 8707 2",
    ),
    Clause("A7.repeats", "MUST", "Equal resources count once; different ones get invalid_target.", "RFC 8707 2"),
    Clause("A7.case", "SHOULD", "The scheme and host of a resource are read in any letter case.", MCP),
    Clause("A8", "MUST", "Codes and refresh tokens work once, and theft is detected.", f"{OAUTH} 4.1.3, 4.3"),
    Clause("A8.bound", "MUST", "A code is bound to its client and redirect URI.", "RFC 6749 4.1.3"),
    Clause("A8.short", "MUST", "A code lives for a minute.", "RFC 6749 4.1.2"),
    Clause("A8.replayed-code", "MUST", "A code used again is refused, and ends what it had given.", f"{OAUTH} 4.1.3"),
    Clause("A8.one-winner", "MUST", "Of parallel redemptions, exactly one succeeds.", f"{OAUTH} 4.1.3; CVE-2026-53517"),
    Clause("A8.five-verifiers", "OURS", "The fifth wrong verifier ends a code; fewer change nothing.", "RFC 7636 7.1"),
    Clause("A8.rotation", "MUST", "Each refresh gives a new refresh token.", f"{OAUTH} 4.3.1; {MCP}"),
    Clause(
        "A8.grace",
        "OURS",
        "A repeat within the grace period gets the same successor: no second branch.",
        f"{OAUTH} 4.3.1",
    ),
    Clause("A8.one-successor", "OURS", "Parallel refreshes all get the same successor.", "CVE-2026-1035"),
    Clause(
        "A8.reuse",
        "MUST",
        "A repeat after the grace period is refused and ends the family.",
        f"{OAUTH} 4.3.1; RFC 9700 4.14",
    ),
    Clause("A8.refresh-bound", "MUST", "A refresh token works only for its client.", "RFC 6749 6; CVE-2026-53512"),
    Clause("A8.narrows", "MUST", "`scope` at a refresh narrows that one token, and never widens it.", "RFC 6749 6"),
    Clause("A8.lives-while-used", "OURS", "An unused connection ends; each refresh renews it.", "RFC 9700 4.14.2"),
    Clause("A8.restart", "OURS", "What has ended stays ended after a restart.", "CVE-2026-9802"),
    Clause("A8.hashed", "OURS", "Codes and refresh tokens are stored as hashes.", "RFC 6819 5.1.4.1.3"),
    Clause("A8.random", "MUST", "Codes, refresh tokens and secrets have 256 random bits.", "RFC 6749 10.10"),
    Clause("A9", "SHOULD", "Access tokens are short-lived JWTs.", "RFC 9068; RFC 9700 2.2"),
    Clause("A9.claims", "MUST", "A token has iss, exp, aud, sub, client_id, iat, jti and scope.", "RFC 9068 2.2"),
    Clause("A9.header", "MUST", "typ is at+jwt; alg and kid identify a key in the JWKS.", "RFC 9068 2.1"),
    Clause("A9.scope", "SHOULD", "The token response always has `scope`.", "RFC 6749 5.1"),
    Clause("A9.no-store", "MUST", "Token responses forbid caching.", "RFC 6749 5.1"),
    Clause("A9.recomputed", "OURS", "A scope that a person lost is gone at the next refresh.", "RFC 9700 2.3"),
    Clause("A9.no-cookie", "MUST", "No token is ever stored in a cookie.", "RFC 6750 5.3"),
    Clause(
        "A9.not-logged", "MUST", "No log of the authorization server holds a token, code or cookie.", "RFC 6749 10.3"
    ),
    Clause("A10", "MUST", "The consent page says who is asking.", MCP),
    Clause("A10.host", "MUST", "It shows the host that the response goes to.", MCP),
    Clause("A10.loopback", "MUST", "It warns if that is a program on this computer.", f"{MCP}; RFC 8252 8.6"),
    Clause("A10.unverified", "MUST", "The client's own name is marked as unverified.", MCP),
    Clause(
        "A10.vouched",
        "MAY",
        "A name is marked as verified only with the domain whose document states it, if the response goes there too.",
        f"{CIMD} 6.4",
    ),
    Clause("A11", "OURS", "A client can end its own grant.", "RFC 7009"),
    Clause("A11.revoke", "MUST", "Revoking a refresh token ends its family; 200 in any case.", "RFC 7009 2.1, 2.2"),
    Clause("A11.own", "MUST", "A client cannot revoke another client's tokens.", "RFC 7009 2.1"),
    Clause(
        "A11.access-token",
        "MUST",
        "Revoking an access token gets unsupported_token_type, not a false promise.",
        "RFC 7009 2.2.1",
    ),
    Clause(
        "A11.introspect",
        "OURS",
        "A resource server may ask about tokens for its own resource.",
        "RFC 7662",
    ),
    Clause("A12", "OURS", "Enough of OpenID Connect for clients that expect it.", "OIDC Core 1.0"),
    Clause("A12.scopes", "OURS", "openid, profile, email, offline_access are accepted.", "OIDC Core 5.4, 11"),
    Clause(
        "A12.id-token",
        "MUST",
        "With openid there is an id_token: iss, sub, aud, exp, iat, nonce.",
        "OIDC Core 2, 3.1.3.3",
    ),
    Clause("A12.prompt", "MUST", "prompt=none asks nobody; login and consent always ask.", "OIDC Core 3.1.2.1"),
    Clause("A12.max-age", "MUST", "A sign-in older than max_age is repeated.", "OIDC Core 3.1.2.1"),
    Clause(
        "A12.rs256",
        "MUST",
        "RS256 is supported for id_tokens.",
        "OIDC Core 15.1",
    ),
    Clause("A12.userinfo", "OURS", "/userinfo says who the person is, to a token with openid.", "OIDC Core 5.3"),
    Clause("A13", "OURS", "Unknown input from a client does it no harm.", "RFC 6749 3.1"),
    Clause("A13.unknown", "MUST", "Unknown parameters and scopes are ignored.", "RFC 6749 3.1, 3.3"),
    Clause("A13.request-object", "MUST", "request and request_uri are refused; nothing is fetched.", "RFC 9101 10.4.1"),
    Clause(
        "A13.default-scope",
        "OURS",
        "If none of the resource's scopes is named, the default set applies, and the response says so.",
        "RFC 6749 3.3",
    ),
    Clause("A13.state", "MUST", "`state` is returned as it was sent.", "RFC 6749 4.1.2"),
    Clause("A13.sizes", "SHOULD", "What is issued has the documented size.", "RFC 6749 2.2, 4.1.2, 5.1"),
    Clause("A14", "OURS", "Clients in a web page can reach the endpoints for programs.", "Fetch, CORS protocol"),
    Clause(
        "A14.open",
        "OURS",
        "One `*`, without credentials: metadata, JWKS, token, register, revoke.",
        "Fetch, CORS protocol",
    ),
    Clause(
        "A14.preflight",
        "OURS",
        "Preflights allow Authorization, Content-Type, MCP-Protocol-Version.",
        "Fetch, CORS protocol",
    ),
    Clause("A14.pages", "OURS", "Pages and /authorize are open to no other origin.", "RFC 9700 2.6"),
    Clause("A14.keys", "MUST", "The JWKS has only public keys, each with its use, algorithm and kid.", "RFC 7517 4, 5"),
    Clause("A15", "OURS", "A resource server exchanges its caller's token for a backend's.", f"RFC 8693; {MCP}"),
    Clause("A15.who", "MUST", "Only its own credentials get such a token; no client's do.", "RFC 8693 2.1, 5"),
    Clause("A15.subject", "MUST", "An unacceptable subject token gets invalid_request.", "RFC 8693 2.1, 2.2.2"),
    Clause("A15.types", "MUST", "Only access tokens, and only for access tokens; no actor_token.", "RFC 8693 2.1, 3"),
    Clause(
        "A15.target",
        "SHOULD",
        "A target that is not one of its backends gets invalid_target.",
        "RFC 8693 2.2.2; RFC 8707 2",
    ),
    Clause(
        "A15.narrows", "MUST", "No scope beyond those of the subject token, the person and the rules.", "RFC 8693 2.2.1"
    ),
    Clause("A15.short", "OURS", "Five minutes at most, never longer than the subject token.", "RFC 8693 2.2.1"),
    Clause("A15.act", "MUST", "The token says for whom (sub) and through whom (act.sub).", "RFC 8693 4.1"),
    Clause(
        "A15.answer",
        "MUST",
        "issued_token_type and token_type; never a refresh token.",
        "RFC 8693 2.2.1; RFC 6749 4.4.3",
    ),
    Clause("A15.end", "OURS", "Exchanges end with the connection, the token or the person's account.", "RFC 8693 2.1"),
    Clause("A15.there-alone", "MUST", "Such a token works at its backend and nowhere else.", f"RFC 8707 2.2; {MCP}"),
    Clause(
        "A15.lists",
        "OURS",
        "Without a person, a resource server gets a token in its own name, without scopes.",
        "RFC 6749 4.4; RFC 9068 2.2",
    ),
    Clause("A15.catalogue", "OURS", "Backends are reloaded; a broken file changes nothing.", "RFC 8693 2.1"),
)

_RESOURCE = (
    Clause(
        "R1",
        "MUST",
        "The resource publishes metadata, in both forms, naming the URL that people type.",
        "RFC 9728 3; " + MCP,
    ),
    Clause("R1.https", "MUST", "A public resource and its issuer are https.", "RFC 9728 1.2"),
    Clause("R1.nowhere-else", "MUST", "No other path serves the document.", "RFC 9728 3.3"),
    Clause("R1.no-empty", "MUST", "Empty members are omitted.", "RFC 9728 3.2"),
    Clause(
        "R2",
        "MUST",
        "A 401 says where the metadata is and which scopes to request.",
        "RFC 9728 5.1; RFC 6750 3; " + MCP,
    ),
    Clause("R2.form", "MUST", "One Bearer challenge, each parameter once, in the permitted characters.", "RFC 6750 3"),
    Clause("R2.where", "MUST", "The challenge says where the metadata is.", "RFC 9728 5.1"),
    Clause("R2.scope", "SHOULD", "It names the scopes to request.", MCP),
    Clause("R2.no-error", "SHOULD", "Without a token it has no error code.", "RFC 6750 3.1"),
    Clause("R2.invalid-token", "MUST", "An unacceptable token gets 401 invalid_token.", "RFC 6750 3.1; RFC 9068 4"),
    Clause(
        "R3",
        "MUST",
        "Every part of a token is checked, and it is read only from the header.",
        "RFC 9068 4; RFC 8725 3; " + MCP,
    ),
    Clause(
        "R3.header", "MUST", "The Authorization header is read, with its scheme in any letter case.", "RFC 6750 2.1"
    ),
    Clause("R3.header-alone", "MUST", "A token in a query, a body or a cookie is ignored.", f"{OAUTH} 5.1"),
    Clause("R3.one-way", "SHOULD", "Several Authorization headers get 400 invalid_request.", "RFC 6750 3.1"),
    Clause("R3.signature", "MUST", "The signature is by a key that the issuer currently publishes.", "RFC 9068 4"),
    Clause("R3.algorithm", "MUST", "The token's own alg decides nothing; none is refused.", "RFC 9068 4; RFC 8725 3.1"),
    Clause("R3.type", "MUST", "typ is at+jwt.", "RFC 9068 4"),
    Clause("R3.issuer", "MUST", "iss is OAUTH_ISSUER, byte for byte.", "RFC 9068 4"),
    Clause("R3.audience", "MUST", "aud contains this resource, byte for byte.", f"RFC 9068 4; {MCP}"),
    Clause("R3.time", "MUST", "exp is not past, with a minute's leeway.", "RFC 9068 4"),
    Clause("R3.no-passthrough", "MUST", "No tool sees the token, so none can pass it on.", MCP),
    Clause("R3.not-logged", "MUST", "No log of the resource server holds a token.", "RFC 9700 4.9.3"),
    Clause(
        "R3.opaque",
        "OURS",
        "A bearer that is not a JWT is accepted only if the issuer says so, and only for a while.",
        "RFC 7662 4",
    ),
    Clause(
        "R4",
        "SHOULD",
        "A call beyond the token's scope gets HTTP 403 with every scope it needs.",
        "RFC 6750 3.1; " + MCP,
    ),
    Clause("R4.link", "OURS", "request_access leads to a page that widens the grant.", "MCP 2026-07-28, authorization"),
    Clause(
        "R5",
        "MUST",
        "A tool that is not listed cannot be called, and only whoami and request_access name it.",
        "MCP 2026-07-28, tools",
    ),
    Clause(
        "R6",
        "MUST",
        "Lists are private and stable; a foreign Origin gets 403, a foreign Host 421.",
        "MCP 2026-07-28, transports",
    ),
    Clause(
        "R7",
        "OURS",
        "Key rotation refuses no token, and floods of unknown kids stay bounded.",
        "RFC 7517 5; RFC 9068 4",
    ),
    Clause("R7.documents", "MUST", "Metadata that is broken, or another issuer's, yields no key.", "RFC 8414 3.3"),
    Clause("R7.certificate", "MUST", "The issuer's certificate is verified.", "RFC 8414 6.2"),
)

_ERRORS = (
    Clause("E1", "MUST", "Errors of /token, /register, /revoke are RFC 6749 JSON, with no-store.", "RFC 6749 5.2"),
    Clause("E1.body-alone", "MUST", "Parameters in the query of a POST are ignored.", "RFC 6749 2.3.1"),
    Clause("E2", "OURS", "Bad input gets a 400 or 401, never a 422, never a framework's `detail`.", "RFC 6749 5.2"),
    Clause("E3", "OURS", "A trailing slash on /token is answered, not redirected.", "RFC 9110 15.4"),
    Clause("E4", "MUST", "A repeated parameter gets invalid_request.", "RFC 6749 3.1, 3.2"),
    Clause(
        "E5", "OURS", "NUL, broken UTF-8, a megabyte and deep JSON get a 4xx wherever they are sent.", "RFC 9110 15.5"
    ),
    Clause("E6", "MUST", "A client that used HTTP Basic gets its 401 with a challenge.", "RFC 6749 5.2"),
    Clause("E7", "MUST", "Descriptions are plain ASCII, whatever was sent.", "RFC 6749 5.2; Authlib raises otherwise"),
)

_CONSENT = (
    Clause(
        "C1",
        "OURS",
        "Consent without a page needs https, a named resource, an id that nobody else can use, and no new scope.",
        "RFC 9700 4.4; GHSA-6x8h-498w-gv8c",
    ),
    Clause(
        "C2",
        "OURS",
        "One button: another registration of the same kind, a loopback or private URI, or no resource named.",
        "RFC 8252 8.6",
    ),
    Clause(
        "C3",
        "OURS",
        "The full page: more scope, another kind of client, another person, an expired consent, or on request.",
        "RFC 6749 10.2",
    ),
    Clause("C4", "OURS", "Nothing is remembered unless the person wants it.", "OIDC Core 3.1.2.4"),
    Clause("C5", "OURS", "A request is answered once, and only in the browser that made it.", "RFC 9700 4.7"),
    Clause("C6", "OURS", "A token has no scope beyond those requested, ticked and held.", "RFC 6749 3.3"),
    Clause("C7", "MUST", "A refusal gives access_denied.", "RFC 6749 4.1.2.1"),
)

_PEERS = (
    Clause("P1", "OURS", "Nothing sent is built from Host or X-Forwarded-*; a foreign Host gets 421.", "RFC 9110 7.2"),
    Clause("P2", "OURS", "No caller escapes a limit with its own X-Forwarded-For.", "CVE-2026-110861"),
    Clause("P3", "OURS", "Nothing a client registers breaks a page later.", "RFC 7591 5"),
    Clause("P4", "OURS", "Pages run only our scripts, cannot be framed and are not cached.", "RFC 9700 4.16"),
)

CLAUSES: tuple[Clause, ...] = (*_AUTHORIZATION, *_RESOURCE, *_ERRORS, *_CONSENT, *_PEERS)
