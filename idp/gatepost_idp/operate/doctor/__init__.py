"""``gatepost doctor``: what is wrong with a deployment, and which setting mends it.

- ``doctor``        a run: which checks, and on what
- ``finding``       a fault that can be, a finding that is, a check that looks for it, an outcome
- ``examination``   runs checks in their one order; after a failed one, those that need it are left out
- ``inside``        checks of the server's own side, and the installation that they look at
- ``outside``       checks from the public URL inwards, as a client sees it, and the visit that they share
- ``readiness``     the cheap half of ``inside`` for METRICS_ADDRESS, asked once a minute
- ``troubleshooting``   the table of docs/troubleshooting.md: each fault a row

A check is one function with a name. It changes nothing, and what it says holds no secret.
"""
