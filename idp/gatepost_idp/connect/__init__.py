"""The public pages ``/`` and ``/connect``: what this service is, the MCP URL to paste, and the steps for each app.

``clients.toml`` has the steps, ``guide`` checks them and fills in this deployment's URLs, ``doors`` serves the pages.
"""
