"""Gatepost's authorization server: sign-in by mail, consent, and tokens for MCP clients.

The layers, from the top; each imports only from those below it:

- ``__main__``   the command line; ``commands`` has a file per group; ``demo`` runs the whole product on one machine
- ``app``        connects all parts
- ``authorize``  the journey from GET /authorize to the finish page; ``grants`` the token endpoints; ``account`` the
  pages on which people change what they agreed to; ``admin`` the pages for administrators
- ``signin``, ``consent``, ``clients``, ``discovery``, ``connect``   one capability each, independent of one another
- ``tokens``, ``keys``, ``sessions``, ``visitors``, ``mail``, ``pages``, ``errors``, ``limits``, ``brakes``,
  ``traces``, ``recorder``, ``counts``   what they share
- ``store``      every query, by name
- ``database``   the only interface to the database; ``sqlite`` and ``postgres`` implement it
- ``transaction``   transactions and queries; ``models`` the tables
- ``protocol``, ``parameters``, ``redirects``, ``pkce``, ``crypto``, ``settings``, ``catalogue``   the foundation
"""

__version__ = "0.1.0"
