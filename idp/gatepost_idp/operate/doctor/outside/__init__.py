"""Checks from the public URL inwards, as a client sees it: the foundations first, then what trips clients up."""

from gatepost_idp.operate.doctor.finding import Check
from gatepost_idp.operate.doctor.outside import (
    address,
    bearer,
    endpoints,
    front,
    issuer,
    mail_records,
    mcp,
    pace,
    reach,
    resource_metadata,
    sharing,
)
from gatepost_idp.operate.doctor.outside.visit import Visit

CHECKS: tuple[Check[Visit], ...] = (
    address.URL,
    reach.DNS,
    reach.PORT,
    reach.CERTIFICATE,
    mcp.ENDPOINT,
    mcp.CHALLENGE,
    resource_metadata.METADATA,
    issuer.NAME,
    reach.ISSUER_DNS,
    reach.ISSUER_PORT,
    reach.ISSUER_CERTIFICATE,
    issuer.METADATA,
    endpoints.ENDPOINTS,
    endpoints.SLASH,
    sharing.MCP,
    sharing.ISSUER,
    front.AUTHORIZATION,
    front.KEYS,
    front.INTROSPECTION,
    front.USER_AGENT,
    pace.BODY,
    pace.PACE,
    pace.CLOCK,
    mail_records.RECORDS,
    bearer.TOKEN,
    bearer.SCOPES,
    bearer.STREAM,
)
"""All outside checks, in the order in which they run."""
