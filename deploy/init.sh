#!/bin/sh
# Makes the secrets, the signing key and the description of the platform where they are missing. Arguments as for up.sh.
set -eu
cd "$(dirname "$0")"
. ./.env
state=${PORCHLIGHT_STATE:-./state}
case "$*" in
  *compose.cluster.yaml*) brokers=kafka:9094,kafka-2:9094,kafka-3:9094 ;;
  *) brokers=${KAFKA_BOOTSTRAP:-kafka:9094} ;;
esac
case "$*" in *compose.external-kafka.yaml*) kafka_ca=/run/secrets/kafka_ca.pem ;; *) kafka_ca="" ;; esac

mkdir -p "$state"
docker run --rm --user 0 --network none -e PORCHLIGHT_HOME=/porchlight -e PORCHLIGHT_UID="$PORCHLIGHT_UID" \
  -e KAFKA_BOOTSTRAP="$brokers" -e KAFKA_CA_FILE="$kafka_ca" -e KAFKA_USERNAME="${kafka_ca:+${KAFKA_USERNAME:-}}" -v "$(cd "$state" && pwd)":/porchlight \
  "porchlight-tools:${PORCHLIGHT_VERSION:-0.2.0}" deployed init
