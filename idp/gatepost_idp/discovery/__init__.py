"""Metadata for clients and resource servers (RFC 8414, OIDC Discovery) and the public keys (RFC 7517)."""
