#!/bin/sh
# From a file of backup.sh to a platform that runs. Refuses where there is a database already.
# What Kafka has is given up and written again from the databases; agents sign in again.
set -eu
[ $# -ge 1 ] || { echo "usage: restore.sh FILE [COMPOSE-FILE...]" >&2; exit 2; }
file=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
cd "$(dirname "$0")"
umask 077
[ $# -gt 0 ] || set -- compose.yaml
files=""
for one in "$@"; do files="$files -f $one"; done
state=${PORCHLIGHT_STATE:-./state}
project=${COMPOSE_PROJECT_NAME:-porchlight}
image=${POSTGRES_IMAGE:-postgres:17}
replication=1
case "$*" in *compose.cluster.yaml*) replication=3 ;; esac

if docker volume inspect "${project}_postgres-data" >/dev/null 2>&1; then
  echo "restore: volume ${project}_postgres-data is there already: restore elsewhere, or remove it with 'docker volume rm'" >&2
  exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xf "$file"
(cd "$work" && sha256sum -c --quiet SHA256SUMS) || { echo "restore: $file is damaged" >&2; exit 2; }
mkdir -p "$state"
rm -rf "$state/secrets" "$state/jwks.json"
tar -C "$state" -xzf "$work/state.tar.gz"

# shellcheck disable=SC2086
docker compose $files create postgres
docker run --rm -i --user 0 --network none --entrypoint sh -v "${project}_postgres-data":/data "$image" \
  -c 'tar -xzf - -C /data && chown -R postgres: /data && chmod 700 /data' <"$work/postgres.tar.gz"
PORCHLIGHT_RECONCILE=$replication sh ./up.sh "$@"
echo "restore: done; look with 'docker compose -f deploy/compose.yaml run --rm tools check'"
