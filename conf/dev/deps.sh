#!/bin/sh
# Installs those of the Debian packages named as arguments that are not installed. Nothing is missing: nothing is done.
set -eu

if ! command -v dpkg-query >/dev/null; then
    echo "deps: no Debian here; these packages, or what your system calls them, are needed: $*"
    exit 0
fi

installed=" $(dpkg-query -W -f='${db:Status-Abbrev}:${Package} ' "$@" 2>/dev/null || true)"
missing=
for package in "$@"; do
    case $installed in
    *"ii :$package "*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing packages; as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    root=sudo
fi

# The packages of nginx, memcached and PostgreSQL would start services. Ours are private ones, so none is wanted: Debian asks
# policy-rc.d, and where there is none, one stands in while apt-get runs.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap '$root rm -f $policy' EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
    $root chmod 755 $policy
fi

echo "deps: installing$missing"
$root apt-get -qq update
# shellcheck disable=SC2086
$root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing </dev/null
