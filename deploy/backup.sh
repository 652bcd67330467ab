#!/bin/sh
# One file with everything that cannot be made again: all databases at one moment, the secrets, the signing key.
# Runs beside a working platform. Argument: the file; without it one is named by the time under deploy/backups.
set -eu
cd "$(dirname "$0")"
umask 077
state=${PORCHLIGHT_STATE:-./state}
file=${1:-backups/porchlight-$(date -u +%Y%m%dT%H%M%SZ).tar}
case $file in /*) ;; *) [ $# -eq 0 ] || file=$OLDPWD/$file ;; esac
mkdir -p "$(dirname "$file")"
work=$(mktemp -d "$(dirname "$file")/.backup.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A copy of the whole server with the log that makes it consistent: the four databases are of the same moment.
# A pipe has the status of its last command: the first one's is noted, so that half a copy is never taken for a whole one.
{
  docker compose -f compose.yaml exec -T postgres pg_basebackup -U porchlight -D - -F tar -X fetch -c fast || touch "$work/failed"
} | gzip >"$work/postgres.tar.gz"
if [ -e "$work/failed" ] || ! tar -tzf "$work/postgres.tar.gz" | grep -qx backup_label; then
  echo "backup: PostgreSQL did not give a whole copy; nothing was written" >&2
  exit 1
fi
tar -C "$state" -czf "$work/state.tar.gz" secrets jwks.json
(cd "$work" && sha256sum postgres.tar.gz state.tar.gz >SHA256SUMS)
tar -C "$work" -cf "$file" SHA256SUMS postgres.tar.gz state.tar.gz
echo "backup: $file ($(wc -c <"$file") bytes; it holds secrets)"
