"""The command groups, one file each; commands import what they need when run, so that ``--help`` is fast."""
