#!/bin/sh
# Prints, for each image of the compose file and the Dockerfile, the digest that its tag stands for now, as lines for
# infra/compose/.env. Needs docker with buildx, and the registries.
set -eu
cd "$(dirname "$0")/.."
sed -n -E 's/.*\$\{([A-Z_]+_IMAGE):-([^}]+)\}.*/\1 \2/p; s/^ARG ([A-Z_]+_IMAGE)=(.+)$/\1 \2/p' \
  compose/compose.yaml docker/Dockerfile | sort -u | while read -r name image; do
  case $image in riverlight:*) continue ;; esac # built here
  digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
  printf '%s=%s@%s\n' "$name" "$image" "$digest"
done
