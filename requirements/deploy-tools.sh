#!/bin/sh
# promtool and Docker Compose for the tests of deploy/: taken out of Debian's packages into build/tools, nothing is installed.
# Elsewhere than on Debian install both yourself; the tests find them on PATH.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/tools
into=$PWD/build/tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The lists of a suite that has Compose 2, beside the machine's own, which may have only Compose 1.
suite=trixie
mkdir -p "$work/lists/partial" "$work/sources"
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  [ ! -s "$file" ] || sed "s/$(. /etc/os-release && echo "$VERSION_CODENAME")/$suite/g" "$file" >"$work/sources/$(basename "$file")"
done
[ -f "$work/sources/sources.list" ] && mv "$work/sources/sources.list" "$work/sources/suite.list"
fetch() { # fetch PACKAGE: unpacked into $work/PACKAGE
  (cd "$work" && apt-get -q -o Dir::State::Lists="$work/lists" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" \
    -o APT::Sandbox::User=root download "$1" >/dev/null && dpkg -x "$1"_*.deb "$1")
}
apt-get -q -o Dir::State::Lists="$work/lists" -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/sources" -o APT::Sandbox::User=root update >/dev/null
fetch promtool
fetch docker-compose
cp "$work/promtool/usr/bin/promtool" "$work/docker-compose/usr/libexec/docker/cli-plugins/docker-compose" "$into/"
"$into/promtool" --version | head -1
"$into/docker-compose" version
