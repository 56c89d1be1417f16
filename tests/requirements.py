"""What the two servers owe to OAuth, OpenID Connect and MCP: every clause in our own words, with where it comes from.

A test names the clauses that it holds: ``@pytest.mark.clause("A1.s256-only")``. ``tests/test_requirements.py`` checks
both ways: no test names a clause that is not here, and no clause here is without a test. A head (``A1``) counts as
held where a test names it or one of its parts (``A1.s256-only``).

The groups: A the authorization server, R the resource server, E what an error looks like wherever it comes from,
C when a remembered consent may stand for the person, P what comparable servers got wrong and no RFC puts in words.
Signing in by mail has no clause here: no standard describes it, and tests/idp/signin says what it does.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["MUST", "SHOULD", "MAY", "OURS"]
"""RFC 2119's words as the source uses them; OURS is what no source asks for and this product promises."""

OAUTH = "OAuth 2.1 (draft-ietf-oauth-v2-1)"
MCP = "MCP 2026-07-28, authorization"
CIMD = "draft-ietf-oauth-client-id-metadata-document-01"


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that must hold. ``not_yet`` says why nothing does so far: then no test may claim that it does."""

    id: str
    level: Level
    text: str
    source: str
    not_yet: str = ""

    @property
    def head(self) -> str:
        """The clause that this one is a part of; itself, where it is no part."""
        return self.id.partition(".")[0]


_AUTHORIZATION = (
    Clause("A1", "MUST", "Authorization codes for public and confidential clients.", f"{OAUTH} 2.1, 4.1; {MCP}"),
    Clause("A1.pkce-required", "MUST", "A request without a code_challenge is refused.", f"{OAUTH} 4.1.1; {MCP}"),
    Clause("A1.s256-only", "MUST", "`plain`, and a challenge without a method, are refused.", "RFC 9700 2.1.1; " + MCP),
    Clause("A1.s256-advertised", "MUST", "Metadata lists S256 and nothing else.", f"RFC 8414 2; {MCP}"),
    Clause("A1.verifier", "MUST", "A code is redeemed only with the verifier of its challenge.", "RFC 7636 4.6"),
    Clause("A1.client-authentication", "MUST", "A client that has a secret proves it.", "RFC 6749 3.2.1"),
    Clause("A1.no-secret", "OURS", "What a client without a secret sends as one proves nothing.", "RFC 6749 2.3"),
    Clause("A1.response-type", "MUST", "`code` is the one response type.", f"{OAUTH} 4.1.1"),
    Clause("A1.person", "MUST", "Nobody gets a code before they signed in.", "RFC 6749 3.1"),
    Clause("A1.guessing", "MUST", "Who guesses secrets or mailed codes is stopped.", "RFC 6749 2.3.1, 10.10"),
    Clause("A1.see-other", "MUST", "A form is answered by 303 or a page, never by 307.", "RFC 9700 4.12"),
    Clause("A2", "MUST", "Metadata that a client finds without being told where.", f"RFC 8414 3; {MCP}"),
    Clause("A2.rfc8414", "MUST", "The document holds up to an independent reader of RFC 8414.", "RFC 8414 2"),
    Clause("A2.oidc", "MUST", "The OpenID configuration has its required members.", "OIDC Discovery 1.0, 3"),
    Clause("A2.no-empty", "MUST", "No member of the document is an empty array.", "RFC 8414 3.2"),
    Clause("A2.https", "MUST", "A public issuer or resource is https; plain http is loopback's.", "RFC 8414 2"),
    Clause("A2.issuer-bytes", "MUST", "`issuer` is the configured one, byte for byte.", "RFC 8414 3.3; RFC 9207 2.4"),
    Clause("A2.forms", "MUST", "Root, path-inserted and appended addresses answer alike.", f"RFC 8414 3, 5; {MCP}"),
    Clause("A2.head", "OURS", "HEAD is answered as GET without the body: Gemini CLI probes so.", "RFC 9110 9.3.2"),
    Clause("A2.issuer-path", "MUST", "An issuer with a path works with a proxy that strips it or not.", "RFC 8414 3.1"),
    Clause("A3", "MUST", "Answers go only to redirect addresses that were registered.", "RFC 9700 2.1"),
    Clause("A3.exact", "MUST", "Addresses are compared as strings, without any normalization.", "RFC 9700 4.1.3"),
    Clause("A3.loopback-port", "MUST", "Only for a loopback address the port is left aside.", "RFC 8252 7.3"),
    Clause("A3.loopback-apart", "MUST", "127.0.0.1, [::1] and localhost do not stand for another.", "RFC 8252 8.3"),
    Clause("A3.accepted", "MUST", "https, http on loopback, private-use schemes may be registered.", "RFC 8252 7"),
    Clause("A3.never", "MUST", "Script, data and file schemes, users, fragments, wildcards never.", "RFC 9700 4.1"),
    Clause(
        "A3.no-open-redirect",
        "MUST",
        "With the client or the address in doubt: a page, no redirect.",
        "RFC 6749 4.1.2.1",
    ),
    Clause("A3.unseen", "MUST", "No error takes people unseen to an address that just registered.", "RFC 9700 4.11.2"),
    Clause("A3.said", "OURS", "That page shows what was received and what is registered.", "RFC 6749 3.1.2.4"),
    Clause(
        "A4",
        "SHOULD",
        "A client may be the URL of its metadata document.",
        CIMD,
    ),
    Clause("A4.advertised", "MUST", "Metadata says that such clients are taken.", f"{CIMD}: Metadata; {MCP}"),
    Clause("A4.said", "OURS", "A person reads which URL is wrong, and what with it; /token: invalid_client.", CIMD),
    Clause("A4.public", "MUST", "A document is its URL's own, shares no secret, and does with PKCE.", f"{CIMD} 4.1"),
    Clause("A4.fetch", "MUST", "200 and JSON, 5 KiB, 5 s, no redirect, nothing else followed.", f"{CIMD} 4, 6.6"),
    Clause("A4.addresses", "MUST", "Special-use addresses are refused, in whatever form they come.", f"{CIMD} 6.5"),
    Clause("A4.cache", "SHOULD", "Fresh as HTTP says, within bounds; stale where a fetch fails.", f"{CIMD} 4.4"),
    Clause("A4.pinned", "OURS", "Well-known documents have a copy here for when they cannot be had.", CIMD),
    Clause("A4.bounded", "OURS", "Nobody can make this server hammer a host, or fill up with fetches.", f"{CIMD} 6.5"),
    Clause("A4.changed", "SHOULD", "Changed metadata is agreed to anew.", f"{CIMD} 6.3"),
    Clause("A4.disabled", "OURS", "A URL that the operator switched off is refused in all its versions.", CIMD),
    Clause("A5", "MAY", "A client registers itself.", "RFC 7591 3; " + MCP),
    Clause("A5.public", "MAY", "Without an auth method asked for it is public, and is told so.", "RFC 7591 2, 3.2.1"),
    Clause("A5.methods", "MAY", "none, client_secret_basic and client_secret_post.", "RFC 7591 2"),
    Clause("A5.ignored", "MUST", "Members and grant types that we do not know are left out.", "RFC 7591 2"),
    Clause("A5.consistent", "SHOULD", "Grant and response types fit together, whatever was asked.", "RFC 7591 2.1"),
    Clause(
        "A5.some-redirects", "OURS", "One bad redirect does not sink the good ones (Cursor sends both).", "RFC 7591 2"
    ),
    Clause("A5.no-redirect", "MUST", "No acceptable redirect: 400 invalid_redirect_uri.", "RFC 7591 3.2.2"),
    Clause("A5.echo", "MUST", "The answer has the effective metadata; redirects as they were sent.", "RFC 7591 3.2.1"),
    Clause("A5.created", "MUST", "201 with no-store.", "RFC 7591 3.2.1"),
    Clause("A5.bad-input", "MUST", "What is no metadata gets 400 with an RFC 7591 error.", "RFC 7591 3.2.2"),
    Clause("A5.secret", "MUST", "A secret is shown once, is long, and is kept as a hash.", "RFC 6819 5.1.4.1.3"),
    Clause(
        "A5.one-kind",
        "OURS",
        "Registrations of one kind share a row; each id is its own, and kept nowhere.",
        "RFC 7591 3",
    ),
    Clause(
        "A5.forged-id", "OURS", "An id that was not handed out is unknown, however well it is made up.", "RFC 7591 5"
    ),
    Clause(
        "A5.disabled", "OURS", "A kind that the operator disabled is refused, old ids and new ones.", "RFC 7591 3.2.2"
    ),
    Clause("A6", "SHOULD", "Authorization responses say which server answers.", "RFC 9207"),
    Clause("A6.code", "SHOULD", "`iss` stands beside the code.", "RFC 9207 2"),
    Clause("A6.error", "SHOULD", "`iss` stands beside an error.", "RFC 9207 2"),
    Clause("A6.advertised", "MUST", "Metadata says that `iss` will come.", "RFC 9207 3"),
    Clause("A7", "MUST", "Tokens are for one resource.", f"RFC 8707; {MCP}"),
    Clause("A7.bound", "MUST", "The resource of /authorize is the audience of the tokens.", "RFC 8707 2, 2.2"),
    Clause("A7.token", "MUST", "Another resource at /token or at a refresh: invalid_target.", "RFC 8707 2.2"),
    Clause("A7.unknown", "MUST", "An unknown resource: invalid_target; the log says which are allowed.", "RFC 8707 2"),
    Clause("A7.default", "OURS", "No resource named: the default one, and the person is always asked.", "RFC 8707 2"),
    Clause("A7.repeats", "MUST", "Equal resources count once, different ones are invalid_target.", "RFC 8707 2"),
    Clause("A7.case", "SHOULD", "Scheme and host of a resource are read in any letter case.", MCP),
    Clause("A8", "MUST", "Codes and refresh tokens are used once, and their theft shows.", f"{OAUTH} 4.1.3, 4.3"),
    Clause("A8.bound", "MUST", "A code is bound to its client and redirect address.", "RFC 6749 4.1.3"),
    Clause("A8.short", "MUST", "A code lives a minute.", "RFC 6749 4.1.2"),
    Clause("A8.replayed-code", "MUST", "A code used again is refused, and ends what it had given.", f"{OAUTH} 4.1.3"),
    Clause("A8.one-winner", "MUST", "Of parallel redemptions one succeeds.", f"{OAUTH} 4.1.3; CVE-2026-53517"),
    Clause("A8.five-verifiers", "OURS", "The fifth wrong verifier ends a code; fewer spend nothing.", "RFC 7636 7.1"),
    Clause("A8.rotation", "MUST", "A refresh gives a new refresh token.", f"{OAUTH} 4.3.1; {MCP}"),
    Clause(
        "A8.grace", "OURS", "A repeat within the grace gets the same successor: no second branch.", f"{OAUTH} 4.3.1"
    ),
    Clause("A8.one-successor", "OURS", "Parallel refreshes get one and the same successor.", "CVE-2026-1035"),
    Clause(
        "A8.reuse", "MUST", "A repeat after the grace is refused and ends the family.", f"{OAUTH} 4.3.1; RFC 9700 4.14"
    ),
    Clause("A8.refresh-bound", "MUST", "A refresh token is its client's alone.", "RFC 6749 6; CVE-2026-53512"),
    Clause("A8.narrows", "MUST", "`scope` at a refresh narrows that one token, never widens.", "RFC 6749 6"),
    Clause("A8.lives-while-used", "OURS", "An unused connection ends; each refresh renews it.", "RFC 9700 4.14.2"),
    Clause("A8.restart", "OURS", "What was ended stays ended after a restart.", "CVE-2026-9802"),
    Clause("A8.hashed", "OURS", "Codes and refresh tokens are kept as hashes.", "RFC 6819 5.1.4.1.3"),
    Clause("A8.random", "MUST", "Codes, refresh tokens and secrets have 256 random bits.", "RFC 6749 10.10"),
    Clause("A9", "SHOULD", "Access tokens are short-lived JWTs.", "RFC 9068; RFC 9700 2.2"),
    Clause("A9.claims", "MUST", "iss, exp, aud, sub, client_id, iat, jti are there, and scope.", "RFC 9068 2.2"),
    Clause("A9.header", "MUST", "typ is at+jwt; alg and kid lead to a key in the JWKS.", "RFC 9068 2.1"),
    Clause("A9.scope", "SHOULD", "The token response always has `scope`.", "RFC 6749 5.1"),
    Clause("A9.no-store", "MUST", "Token responses are not stored by caches.", "RFC 6749 5.1"),
    Clause("A9.recomputed", "OURS", "A scope that a person lost is gone at the next refresh.", "RFC 9700 2.3"),
    Clause("A9.no-cookie", "MUST", "No token is ever put into a cookie.", "RFC 6750 5.3"),
    Clause(
        "A9.not-logged", "MUST", "No log of the authorization server holds a token, code or cookie.", "RFC 6749 10.3"
    ),
    Clause("A10", "MUST", "The consent page says who asks.", MCP),
    Clause("A10.host", "MUST", "It shows the host that the answer goes to.", MCP),
    Clause("A10.loopback", "MUST", "It warns where that is a program on this computer.", f"{MCP}; RFC 8252 8.6"),
    Clause("A10.unverified", "MUST", "The client's own name is marked as unverified.", MCP),
    Clause(
        "A10.vouched",
        "MAY",
        "A name is marked as verified only with the domain whose document says it, to which the answer goes too.",
        f"{CIMD} 6.4",
    ),
    Clause("A11", "OURS", "A client can end its own grant.", "RFC 7009"),
    Clause("A11.revoke", "MUST", "Revoking a refresh token ends its family; 200 in any case.", "RFC 7009 2.1, 2.2"),
    Clause("A11.own", "MUST", "A client revokes nothing of another.", "RFC 7009 2.1"),
    Clause(
        "A11.access-token", "MUST", "Revoking an access token: unsupported_token_type, not a promise.", "RFC 7009 2.2.1"
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
        "A12.id-token", "MUST", "With openid an id_token comes: iss, sub, aud, exp, iat, nonce.", "OIDC Core 2, 3.1.3.3"
    ),
    Clause("A12.prompt", "MUST", "prompt=none asks nobody; login and consent always ask.", "OIDC Core 3.1.2.1"),
    Clause("A12.max-age", "MUST", "A sign-in older than max_age is done again.", "OIDC Core 3.1.2.1"),
    Clause(
        "A12.rs256",
        "MUST",
        "RS256 is offered for id_tokens.",
        "OIDC Core 15.1",
    ),
    Clause("A12.userinfo", "OURS", "/userinfo says who it is, to a token with openid.", "OIDC Core 5.3"),
    Clause("A13", "OURS", "What a client says beyond what we know does not hurt it.", "RFC 6749 3.1"),
    Clause("A13.unknown", "MUST", "Unknown parameters and scopes are ignored.", "RFC 6749 3.1, 3.3"),
    Clause(
        "A13.request-object", "MUST", "request and request_uri are refused, and nothing is fetched.", "RFC 9101 10.4.1"
    ),
    Clause(
        "A13.default-scope",
        "OURS",
        "None of the resource's scopes named: the default set, and said so.",
        "RFC 6749 3.3",
    ),
    Clause("A13.state", "MUST", "`state` comes back as it was sent.", "RFC 6749 4.1.2"),
    Clause("A13.sizes", "SHOULD", "What is handed out has the size that is documented.", "RFC 6749 2.2, 4.1.2, 5.1"),
    Clause("A14", "OURS", "Clients that are web pages can reach what is meant for programs.", "Fetch, CORS protocol"),
    Clause(
        "A14.open", "OURS", "One `*`, no credentials: metadata, JWKS, token, register, revoke.", "Fetch, CORS protocol"
    ),
    Clause(
        "A14.preflight",
        "OURS",
        "Preflights allow Authorization, Content-Type, MCP-Protocol-Version.",
        "Fetch, CORS protocol",
    ),
    Clause("A14.pages", "OURS", "Pages and /authorize are open to no other origin.", "RFC 9700 2.6"),
    Clause(
        "A14.keys", "MUST", "The JWKS has public keys alone, each with its use, algorithm and kid.", "RFC 7517 4, 5"
    ),
    Clause("A15", "OURS", "A resource server exchanges its caller's token for one of a backend.", f"RFC 8693; {MCP}"),
    Clause("A15.who", "MUST", "Only its own credentials get such a token: no client's do.", "RFC 8693 2.1, 5"),
    Clause("A15.subject", "MUST", "A subject token that is no good here: invalid_request.", "RFC 8693 2.1, 2.2.2"),
    Clause("A15.types", "MUST", "Access tokens for access tokens; no actor_token.", "RFC 8693 2.1, 3"),
    Clause("A15.target", "SHOULD", "A target that is no backend of its: invalid_target.", "RFC 8693 2.2.2; RFC 8707 2"),
    Clause("A15.narrows", "MUST", "No scope beyond the subject token's, the person's, the rules'.", "RFC 8693 2.2.1"),
    Clause("A15.short", "OURS", "Five minutes at the most, never longer than the subject token.", "RFC 8693 2.2.1"),
    Clause("A15.act", "MUST", "The token says for whom (sub) and through whom (act.sub).", "RFC 8693 4.1"),
    Clause(
        "A15.answer", "MUST", "issued_token_type, token_type; never a refresh token.", "RFC 8693 2.2.1; RFC 6749 4.4.3"
    ),
    Clause("A15.end", "OURS", "What ends a connection, a token or a person ends exchanges.", "RFC 8693 2.1"),
    Clause("A15.there-alone", "MUST", "Such a token is good at its backend and nowhere else.", f"RFC 8707 2.2; {MCP}"),
    Clause("A15.lists", "OURS", "Without a person: a token of its own, without scopes.", "RFC 6749 4.4; RFC 9068 2.2"),
    Clause("A15.catalogue", "OURS", "Backends are read again; a broken file changes nothing.", "RFC 8693 2.1"),
)

_RESOURCE = (
    Clause(
        "R1", "MUST", "Metadata of the resource, in both forms, naming the URL that people type.", "RFC 9728 3; " + MCP
    ),
    Clause("R1.https", "MUST", "A public resource and its issuer are https.", "RFC 9728 1.2"),
    Clause("R1.nowhere-else", "MUST", "No other path has the document.", "RFC 9728 3.3"),
    Clause("R1.no-empty", "MUST", "What the document has nothing to say about is left out.", "RFC 9728 3.2"),
    Clause(
        "R2", "MUST", "401 says where the metadata is and which scopes to ask for.", "RFC 9728 5.1; RFC 6750 3; " + MCP
    ),
    Clause("R2.form", "MUST", "One Bearer challenge; each parameter once, in its characters.", "RFC 6750 3"),
    Clause("R2.where", "MUST", "The challenge says where the metadata is.", "RFC 9728 5.1"),
    Clause("R2.scope", "SHOULD", "It names the scopes to ask for.", MCP),
    Clause("R2.no-error", "SHOULD", "Without a token it names no error.", "RFC 6750 3.1"),
    Clause("R2.invalid-token", "MUST", "A token that is no good: 401 invalid_token.", "RFC 6750 3.1; RFC 9068 4"),
    Clause(
        "R3",
        "MUST",
        "A token is checked in every part, and read from its header alone.",
        "RFC 9068 4; RFC 8725 3; " + MCP,
    ),
    Clause("R3.header", "MUST", "The Authorization header is read, its scheme in any case.", "RFC 6750 2.1"),
    Clause("R3.header-alone", "MUST", "A token in a query, a body or a cookie counts for nothing.", f"{OAUTH} 5.1"),
    Clause("R3.one-way", "SHOULD", "Several Authorization headers: 400 invalid_request.", "RFC 6750 3.1"),
    Clause("R3.signature", "MUST", "The signature is by a key that the issuer publishes now.", "RFC 9068 4"),
    Clause("R3.algorithm", "MUST", "The token's own alg chooses nothing; none is refused.", "RFC 9068 4; RFC 8725 3.1"),
    Clause("R3.type", "MUST", "typ is at+jwt.", "RFC 9068 4"),
    Clause("R3.issuer", "MUST", "iss is OAUTH_ISSUER, byte for byte.", "RFC 9068 4"),
    Clause("R3.audience", "MUST", "aud holds this resource, byte for byte.", f"RFC 9068 4; {MCP}"),
    Clause("R3.time", "MUST", "exp is not past, but for a minute between clocks.", "RFC 9068 4"),
    Clause("R3.no-passthrough", "MUST", "No tool sees the token, so none can hand it on.", MCP),
    Clause("R3.not-logged", "MUST", "No log of the resource server holds a token.", "RFC 9700 4.9.3"),
    Clause(
        "R3.opaque",
        "OURS",
        "A bearer that is no JWT counts only where the issuer says so, and for a while.",
        "RFC 7662 4",
    ),
    Clause(
        "R4", "SHOULD", "A call beyond the token's scope is HTTP 403 with every scope it needs.", "RFC 6750 3.1; " + MCP
    ),
    Clause("R4.link", "OURS", "request_access leads to a page that widens the grant.", "MCP 2026-07-28, authorization"),
    Clause(
        "R5", "MUST", "A tool that is not shown cannot be called, and its name shows nowhere.", "MCP 2026-07-28, tools"
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
        "Keys change without a refused token; storms of unknown kids stay bounded.",
        "RFC 7517 5; RFC 9068 4",
    ),
    Clause("R7.documents", "MUST", "Metadata of another issuer, or broken, gives no key.", "RFC 8414 3.3"),
    Clause("R7.certificate", "MUST", "An issuer's certificate is checked.", "RFC 8414 6.2"),
)

_ERRORS = (
    Clause("E1", "MUST", "Errors of /token, /register, /revoke are RFC 6749 JSON, with no-store.", "RFC 6749 5.2"),
    Clause("E1.body-alone", "MUST", "Parameters in the query of a POST are not read.", "RFC 6749 2.3.1"),
    Clause("E2", "OURS", "400 or 401, never 422, never a framework's `detail`.", "RFC 6749 5.2"),
    Clause("E3", "OURS", "A slash at the end of /token is answered, not redirected.", "RFC 9110 15.4"),
    Clause("E4", "MUST", "A repeated parameter is invalid_request.", "RFC 6749 3.1, 3.2"),
    Clause("E5", "OURS", "NUL, broken UTF-8, a megabyte, deep JSON are 4xx wherever they come.", "RFC 9110 15.5"),
    Clause("E6", "MUST", "401 with a challenge where the client used HTTP Basic.", "RFC 6749 5.2"),
    Clause("E7", "MUST", "Descriptions are plain ASCII, whatever was sent.", "RFC 6749 5.2; Authlib raises otherwise"),
)

_CONSENT = (
    Clause(
        "C1",
        "OURS",
        "Silence: https, the resource named, an id nobody can guess, the same scopes.",
        "RFC 9700 4.4; GHSA-6x8h-498w-gv8c",
    ),
    Clause("C2", "OURS", "One tap: another registration of the kind, loopback, no resource named.", "RFC 8252 8.6"),
    Clause(
        "C3", "OURS", "The whole page: more scope, another kind or person, after its date, on request.", "RFC 6749 10.2"
    ),
    Clause("C4", "OURS", "Nothing is remembered where the person does not want it.", "OIDC Core 3.1.2.4"),
    Clause("C5", "OURS", "A request is answered once, and only for the browser that made it.", "RFC 9700 4.7"),
    Clause("C6", "OURS", "A token has no more than was asked, ticked and held.", "RFC 6749 3.3"),
    Clause("C7", "MUST", "No: access_denied.", "RFC 6749 4.1.2.1"),
)

_PEERS = (
    Clause(
        "P1", "OURS", "Nothing that leaves is made from Host or X-Forwarded-*; a foreign Host gets 421.", "RFC 9110 7.2"
    ),
    Clause("P2", "OURS", "No limit is escaped by an X-Forwarded-For of the caller's own.", "CVE-2026-110861"),
    Clause("P3", "OURS", "What a client registered breaks no page later.", "RFC 7591 5"),
    Clause("P4", "OURS", "Pages run no script but ours, show in no frame, and stay in no cache.", "RFC 9700 4.16"),
)

CLAUSES: tuple[Clause, ...] = (*_AUTHORIZATION, *_RESOURCE, *_ERRORS, *_CONSENT, *_PEERS)
