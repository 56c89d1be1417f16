"""The way in for people: what this is, the MCP URL to paste, and the steps for each app (``/`` and ``/connect``).

``clients.toml`` has the steps, ``guide`` checks them and fills in this deployment's addresses, ``doors`` shows them.
"""
