#!/bin/sh
# promtool, Docker Compose and nginx for the tests of deploy/, libfaketime for those of clocks: taken out of Debian's packages into build/tools, nothing is
# installed. Elsewhere than on Debian install them yourself; the tests find them on PATH.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build/tools
into=$PWD/build/tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
own=$(. /etc/os-release && echo "$VERSION_CODENAME")

apt() { # apt SUITE WORDS...: with lists of that suite alone, beside the machine's own, which stay as they are
  suite=$1 && shift
  if [ ! -d "$work/$suite" ]; then
    mkdir -p "$work/$suite/lists/partial" "$work/$suite/sources"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
      [ ! -s "$file" ] || sed "s/$own/$suite/g" "$file" >"$work/$suite/sources/$(basename "$file")"
    done
    [ ! -f "$work/$suite/sources/sources.list" ] || mv "$work/$suite/sources/sources.list" "$work/$suite/sources/suite.list"
    apt "$suite" update
  fi
  apt-get -q -o Dir::State::Lists="$work/$suite/lists" -o Dir::Etc::sourcelist=/dev/null \
    -o Dir::Etc::sourceparts="$work/$suite/sources" -o APT::Sandbox::User=root "$@" >/dev/null
}
fetch() { # fetch SUITE PACKAGE: unpacked into $work/PACKAGE
  (cd "$work" && apt "$1" download "$2" && dpkg -x "$2"_*.deb "$2")
}
fetch trixie promtool # a suite that has Compose 2; the machine's own may have only Compose 1
fetch trixie docker-compose
fetch "$own" nginx # it uses the machine's libraries
fetch "$own" libfaketime # and so does what it is loaded into
cp "$work/promtool/usr/bin/promtool" "$work/docker-compose/usr/libexec/docker/cli-plugins/docker-compose" "$work/nginx/usr/sbin/nginx" "$into/"
cp "$work"/libfaketime/usr/lib/*/faketime/libfaketime.so.1 "$into/"
"$into/promtool" --version | head -1
"$into/docker-compose" version
"$into/nginx" -v
