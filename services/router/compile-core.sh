#!/bin/sh
# Compile the routing core that lies in FOLDER/router, in place: `sh compile-core.sh FOLDER`. Needs mypy and a C compiler.
# PYTHON: the interpreter beside which the libraries lie, when it is not mypy's own.
# Structs of msgspec stay as they are; every module that only has functions and plain state becomes machine code.
set -eu
destination=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$destination/router" "$work/"
cd "$work"
modules=""
for name in index/state index/agents index/waiting rules/criteria rules/capacity rules/order matching/selection matching/pairs \
  matching/bursts matching/steps lifecycle/changes lifecycle/contact lifecycle/fast_path lifecycle/commands lifecycle/agent lifecycle/queue \
  queries/estimate invariants engine; do
  modules="$modules router/core/$name.py"
done
# shellcheck disable=SC2086
mypyc --strict ${PYTHON:+--python-executable "$PYTHON"} $modules >compile.log 2>&1 || { cat compile.log >&2; exit 1; }
cp ./*.so "$destination/"
find router/core -name "*.so" | while read -r module; do
  cp "$module" "$destination/$module"
done
