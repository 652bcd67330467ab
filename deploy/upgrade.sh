#!/bin/sh
# Every service to the images of this release while contacts flow: new replicas start beside the old ones, and the old ones stop
# once the new ones are healthy. Arguments as for up.sh; --back before them leaves the databases as they are.
set -eu
cd "$(dirname "$0")"
back=""
[ "${1:-}" != --back ] || { back=yes && shift; }
[ $# -gt 0 ] || set -- compose.yaml
files=""
for file in "$@"; do files="$files -f $file"; done
[ -f .env ] || { echo "upgrade: there is no deploy/.env here: take the one of the installation along" >&2 && exit 2; }
. ./.env

# shellcheck disable=SC2086
{
  [ -n "${PORCHLIGHT_NO_BUILD:-}" ] || [ -n "$back" ] || docker compose $files build -q
  if [ -z "$back" ]; then
    sh init.sh "$@" # secrets that this release has and the one before had not
    if ! docker compose $files exec -T kafka bash -c 'exec 3<>/dev/tcp/127.0.0.1/9094' 2>/dev/null; then
      echo "upgrade: Kafka has users from this release on. It starts anew now; until 'make up' it is open to the older release too"
      docker compose $files -f compose.open-kafka.yaml up -d --no-deps --wait --wait-timeout "${PORCHLIGHT_WAIT_S:-180}" kafka
    fi
    # the older code goes on with the newer schema: see works_with in the migrations
    docker compose $files run --rm --no-deps -T migrate
    docker compose $files run --rm --no-deps -T topics
  fi
  for service in intake router agent-presence reporting; do
    old=$(docker compose $files ps -q "$service")
    count=$(echo "$old" | wc -w)
    [ "$count" -gt 0 ] || { echo "upgrade: $service does not run; 'make up' first" >&2 && exit 1; }
    if ! docker compose $files up -d --no-deps --no-recreate --scale "$service=$((count * 2))" \
      --wait --wait-timeout "${PORCHLIGHT_WAIT_S:-180}" "$service"; then
      for new in $(docker compose $files ps -aq "$service"); do
        case $old in *$new*) ;; *) docker logs --tail 20 "$new" >&2; docker rm -f "$new" >/dev/null ;; esac
      done
      echo "upgrade: the new $service did not become healthy and is gone; the old one goes on. Services before it are new." >&2
      exit 1
    fi
    for container in $old; do
      docker stop --time 20 "$container" >/dev/null
      docker rm "$container" >/dev/null
    done
    echo "upgrade: $service: $count new, $count old stopped"
  done
}
