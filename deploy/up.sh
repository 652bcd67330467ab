#!/bin/sh
# Makes what is missing (settings, secrets), builds, starts, waits until everything is healthy, prints the addresses.
# Arguments: compose files, the first of them deploy/compose.yaml when none is given.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- compose.yaml
files=""
for file in "$@"; do files="$files -f $file"; done
state=${PORCHLIGHT_STATE:-./state}
case "$*" in
  *compose.cluster.yaml*) brokers=kafka:9092,kafka-2:9092,kafka-3:9092 ;;
  *) brokers=${KAFKA_BOOTSTRAP:-kafka:9092} ;;
esac
case "$*" in *compose.external-kafka.yaml*) kafka_ca=/run/secrets/kafka_ca.pem ;; *) kafka_ca="" ;; esac

if [ ! -f .env ]; then
  (
    umask 077
    echo "PORCHLIGHT_UID=$(id -u)"
    echo "KAFKA_CLUSTER_ID=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-22)"
  ) >.env
fi
. ./.env
mkdir -p "$state"

# shellcheck disable=SC2086
{
  [ -n "${PORCHLIGHT_NO_BUILD:-}" ] || docker compose $files build -q
  docker run --rm --user 0 --network none -e PORCHLIGHT_HOME=/porchlight -e PORCHLIGHT_UID="$PORCHLIGHT_UID" \
    -e KAFKA_BOOTSTRAP="$brokers" -e KAFKA_CA_FILE="$kafka_ca" -e KAFKA_USERNAME="${kafka_ca:+${KAFKA_USERNAME:-}}" -v "$(cd "$state" && pwd)":/porchlight \
    "porchlight-tools:${PORCHLIGHT_VERSION:-0.2.0}" deployed init
  if [ -n "${PORCHLIGHT_RECONCILE:-}" ]; then
    docker compose $files run --rm -T migrate
    docker compose $files run --rm -T topics
    docker compose $files run --rm -T tools deployed reconcile --replication "$PORCHLIGHT_RECONCILE"
  fi
  docker compose $files up -d --wait --wait-timeout "${PORCHLIGHT_WAIT_S:-120}"
}
echo "status page and APIs  http://${PORCHLIGHT_BIND:-127.0.0.1}:${PORCHLIGHT_PORT:-8080}/"
echo "an administrator's token  docker compose -f deploy/compose.yaml run --rm tools token admin you"
echo "one contact, all the way  make try-compose"
