"""Every query of the server, by name, one file a capability; each function runs inside a `Transaction`."""
