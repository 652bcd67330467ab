#!/bin/sh
# Makes what is missing (settings, secrets), builds, starts, waits until everything is healthy, prints the addresses.
# Arguments: compose files, the first of them deploy/compose.yaml when none is given.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- compose.yaml
files=""
for file in "$@"; do files="$files -f $file"; done
if [ ! -f .env ]; then
  (
    umask 077
    echo "PORCHLIGHT_UID=$(id -u)"
    echo "KAFKA_CLUSTER_ID=P$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)" # a dash first would be taken for an option
  ) >.env
fi
. ./.env
# shellcheck disable=SC2086
{
  [ -n "${PORCHLIGHT_NO_BUILD:-}" ] || docker compose $files build -q
  sh init.sh "$@"
  if [ -n "${PORCHLIGHT_RECONCILE:-}" ]; then
    docker compose $files run --rm -T migrate
    docker compose $files run --rm -T topics
    docker compose $files run --rm -T tools deployed reconcile --replication "$PORCHLIGHT_RECONCILE"
  fi
  docker compose $files up -d --wait --wait-timeout "${PORCHLIGHT_WAIT_S:-180}"
}
echo "status page and APIs  http://${PORCHLIGHT_BIND:-127.0.0.1}:${PORCHLIGHT_PORT:-8080}/"
echo "an administrator's token  docker compose -f deploy/compose.yaml run --rm tools token admin you"
echo "one contact, all the way  make try-compose"
