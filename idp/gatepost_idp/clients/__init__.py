"""Clients: registered (RFC 7591), added by an operator, or identified by the URL of a metadata document."""
