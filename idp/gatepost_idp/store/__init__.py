"""All queries of the server as named functions, one file per subject; each runs inside a `Transaction`."""
