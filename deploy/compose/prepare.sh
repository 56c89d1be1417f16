#!/bin/sh
# Upgrades the database, and makes the resource server's credentials if they are missing.
set -eu
gatepost db upgrade

kept=/var/lib/gatepost/introspection
[ ! -s "$kept/client_secret" ] || exit 0
made="$(gatepost clients add "MCP server" --resource-server)"
# The secret is written last: if it exists, everything does.
for name in client_id client_secret; do
    printf '%s\n' "$made" | sed -n "s/^$name: //p" | tr -d '\n' > "$kept/$name.new"
    mv "$kept/$name.new" "$kept/$name"
done
