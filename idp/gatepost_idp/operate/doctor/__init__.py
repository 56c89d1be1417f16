"""``gatepost doctor``: finds what is wrong with a deployment, and names the setting that fixes it.

- ``doctor``        a run: selects the checks and their subject
- ``finding``       the types: a possible fault, a finding, a check, and its outcome
- ``examination``   runs checks in order; checks that depend on a failed one are skipped
- ``inside``        checks of the server's own side, on an ``Installation``
- ``outside``       checks from the public URL inwards, as a client sees it, on a ``Visit``
- ``readiness``     the cheap ``inside`` checks for METRICS_ADDRESS, at most once a minute
- ``troubleshooting``   generates docs/troubleshooting.md, with a row for each fault

A check is a named function. It changes nothing, and its findings contain no secret.
"""
