#!/bin/sh
# Makes the passwords of the compose system, once: random, one file each in `secrets/`. What is there stays.
# The folder is only for its owner; the files in it are readable, because containers run as other users.
set -eu
cd "$(dirname "$0")"
umask 022
mkdir -p secrets
chmod 700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
put() { [ -s "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }

for name in postgres_password redis_password minio_password grafana_password elasticsearch_password; do
  put "$name" "$(random)"
done
put minio_user riverlight

# What Redis reads: no anonymous user, and ours may do all but administer the server.
put redis_users "user default off
user riverlight on >$(cat secrets/redis_password) ~* &* +@all -@admin -@dangerous +info
"
# What Riverlight reads: one file a setting (RIVERLIGHT_SECRETS).
put catalogue__url "postgresql+psycopg://riverlight:$(cat secrets/postgres_password)@postgres:5432/riverlight"
put features__redis_url "redis:6379,username=riverlight,password=$(cat secrets/redis_password)"
put objects__url "s3://riverlight/media?region=us-east-1&endpoint=http://minio:9000&path_style=true&plain_http=true\
&access_key_id=$(cat secrets/minio_user)&secret_access_key=$(cat secrets/minio_password)"
printf 'secrets: %s\n' "$(pwd)/secrets"
