"""Gatepost's authorization server: sign-in by mail, consent, and tokens for MCP clients.

The floors, from the street down; imports run only downwards:

- ``__main__``   the command line; ``demo`` runs the whole product on one machine
- ``app``        the only place where the parts meet
- ``authorize``  leads the journey from GET /authorize to the finish page; ``grants`` answers POST /token
- ``signin``, ``consent``, ``clients``, ``discovery``   one capability each; they do not know one another
- ``tokens``, ``keys``, ``sessions``, ``mail``, ``pages``, ``errors``, ``limits``   what the capabilities share
- ``store``      every query, by name
- ``database``   the one seam to SQLite or PostgreSQL; ``models`` the tables
- ``protocol``, ``pkce``, ``crypto``, ``settings``, ``assets``   the ground
"""

__version__ = "0.1.0"
