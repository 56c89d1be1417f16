"""Gatepost's authorization server: sign-in by mail, consent, and tokens for MCP clients.

The floors, from the street down; imports run only downwards:

- ``__main__``   the command line; ``commands`` has a file a group; ``demo`` runs the whole product on one machine
- ``app``        the only place where the parts meet
- ``authorize``  leads the journey from GET /authorize to the finish page; ``grants`` answers POST /token;
  ``account`` has the pages on which people change what they agreed to, ``admin`` those for who runs the server
- ``signin``, ``consent``, ``clients``, ``discovery``, ``connect``   one capability each; they do not know one another
- ``tokens``, ``keys``, ``sessions``, ``visitors``, ``mail``, ``pages``, ``errors``, ``limits``, ``brakes``,
  ``traces``, ``recorder``, ``counts``   what they share
- ``store``      every query, by name
- ``database``   the one seam; ``sqlite`` and ``postgres`` stand behind it
- ``transaction``   what a query runs in; ``models`` the tables
- ``protocol``, ``parameters``, ``redirects``, ``pkce``, ``crypto``, ``settings``, ``catalogue``   the ground
"""

__version__ = "0.1.0"
