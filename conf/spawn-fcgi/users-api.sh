#!/bin/sh
# Starts and stops workers of users-api with spawn-fcgi, which makes their socket and then leaves: nobody starts one anew
# that dies, and their stderr goes nowhere, so HOB_LOG must name a file.
#
#     users-api.sh start | stop | status
set -eu

: "${BINARY:=/usr/local/bin/users-api}"
: "${SOCKET:=/run/users-api/worker.sock}"
: "${PID_FILE:=/run/users-api/pids}"
: "${WORKERS:=$(nproc)}"
: "${ACCOUNT=users-api}" # as which they run; only root can choose, and none is its own
: "${SOCKET_GROUP:=www-data}"
: "${HOB_LOG:=/var/log/users-api.log}"
export HOB_LOG

# spawn-fcgi writes all their pids.
running() {
    found=
    for pid in $(cat "$PID_FILE" 2>/dev/null); do
        if kill -0 "$pid" 2>/dev/null; then
            found="$found $pid"
        fi
    done
    echo "$found"
}

case ${1:-} in
start)
    "$BINARY" --print-config >/dev/null # a bad configuration is told here, and not by each worker to its log
    if [ "$(id -u)" -eq 0 ] && [ -n "$ACCOUNT" ]; then
        set -- -u "$ACCOUNT" -G "$SOCKET_GROUP"
    else
        set --
    fi
    exec spawn-fcgi -s "$SOCKET" -M 0660 -b 4096 "$@" -P "$PID_FILE" -F "$WORKERS" -- "$BINARY"
    ;;
stop)
    # They drain on SIGTERM, and are gone within HOB_DRAIN_TIMEOUT.
    for pid in $(running); do
        kill -TERM "$pid" || true
    done
    while [ -n "$(running)" ]; do
        sleep 0.1
    done
    rm -f "$PID_FILE" "$SOCKET"
    ;;
status)
    HOB_LISTEN=$SOCKET exec "$BINARY" status
    ;;
*)
    echo "usage: $0 start | stop | status" >&2
    exit 2
    ;;
esac
