#!/bin/sh
# Makes the secrets that are missing, each in the volume of the services that need it; a second run changes nothing.
set -eu
cd /var/lib/gatepost

random() {
    python -c 'import secrets; print(secrets.token_urlsafe(32), end="")'
}

# Renamed when complete, so that nobody reads half a secret.
keep() {
    [ -s "$1" ] || { printf '%s' "$2" > "$1.new" && mv "$1.new" "$1"; }
}

keep keys/secret_key "$(random)"
keep database/password "$(random)"
keep database/url "postgresql+psycopg://gatepost:$(cat database/password)@postgres/gatepost"
# A volume that is not empty keeps its owner, who is not root, when Caddy mounts it.
keep certificates/README "Caddy keeps its certificates and their keys here."
