"""POST /token in phases, one file a grant; and revocation."""
