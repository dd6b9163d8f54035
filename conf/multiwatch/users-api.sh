#!/bin/sh
# users-api under multiwatch, for a service manager that keeps one process in the foreground (runit, daemontools, s6).
# spawn-fcgi makes the socket; multiwatch starts the workers and starts those anew that die.
#
# On SIGTERM, SIGINT, SIGHUP, SIGQUIT or SIGUSR1 multiwatch sends its workers SIGUSR1, on which they drain, and ends after
# them; a second one it passes on as it is. Do not ask it for another first signal: with version 1.0.0 sends
# SIGQUIT, which ends a worker at once.
#
# Left to itself it gives a worker up for good once it has died three times within ten seconds of its start, and
# exits with 0 when all are given up; --retry makes that as good as never. There is no waiting between starts, no reload
# and no word about why a worker died: `users-api serve` has these.
set -eu

: "${BINARY:=/usr/local/bin/users-api}"
: "${SOCKET:=/run/users-api/worker.sock}"
: "${WORKERS:=$(nproc)}"
: "${ACCOUNT=users-api}" # as which they run; only root can choose, and none is its own
: "${SOCKET_GROUP:=www-data}"

if [ "$(id -u)" -eq 0 ] && [ -n "$ACCOUNT" ]; then
    set -- -u "$ACCOUNT" -G "$SOCKET_GROUP"
else
    set --
fi
exec spawn-fcgi -n -s "$SOCKET" -M 0660 -b 4096 "$@" -- \
    "$(command -v multiwatch)" --forks="$WORKERS" --retry=1000000000 -- "$BINARY"
