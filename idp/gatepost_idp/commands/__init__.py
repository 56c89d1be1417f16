"""The groups of commands, a file each; a command imports what it runs, so that ``--help`` answers at once."""
