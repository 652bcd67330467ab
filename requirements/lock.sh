#!/bin/sh
# Locks carry hashes and no addresses; every service's lock agrees with the development lock.
set -eu
cd "$(dirname "$0")/.."
own="--no-emit-package porchlight-common --no-emit-package porchlight-intake --no-emit-package porchlight-router
     --no-emit-package porchlight-agent-presence --no-emit-package porchlight-reporting
     --no-emit-package porchlight-simulator --no-emit-package porchlight-checker"
compile() { # compile OUT INPUT...
  out=$1
  shift
  # shellcheck disable=SC2086
  uv pip compile "$@" $own -q --universal --python-version 3.11 --generate-hashes --no-annotate \
    --no-emit-index-url --custom-compile-command 'make lock' -o "$out"
}
compile requirements/dev.lock.txt --extra embedded --extra plots --extra tracing \
  libs/common/pyproject.toml services/*/pyproject.toml tools/*/pyproject.toml requirements/dev.in
for service in intake router agent-presence reporting; do
  compile "requirements/$service.lock.txt" libs/common/pyproject.toml "services/$service/pyproject.toml" -c requirements/dev.lock.txt
done
compile requirements/tools.lock.txt libs/common/pyproject.toml services/*/pyproject.toml \
  tools/simulator/pyproject.toml tools/checker/pyproject.toml tools/cli/pyproject.toml -c requirements/dev.lock.txt
compile requirements/tracing.lock.txt --extra tracing libs/common/pyproject.toml -c requirements/dev.lock.txt
compile requirements/build.lock.txt requirements/build.in -c requirements/dev.lock.txt
