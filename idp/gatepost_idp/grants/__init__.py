"""The endpoints /token (one file per grant type), /revoke, /introspect and /userinfo."""
