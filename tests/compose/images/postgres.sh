#!/bin/sh
# Creates the database in PGDATA if there is none, with the account, the database and the password that POSTGRES_USER,
# POSTGRES_DB and POSTGRES_PASSWORD, or POSTGRES_PASSWORD_FILE, name; then becomes the command.
set -eu

create() {
    user=${POSTGRES_USER:-postgres}
    passwords=$(mktemp)
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        cat "$POSTGRES_PASSWORD_FILE" >"$passwords"
    else
        printf '%s\n' "${POSTGRES_PASSWORD:?or POSTGRES_PASSWORD_FILE must be set}" >"$passwords"
    fi
    initdb --username="$user" --pwfile="$passwords" --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8
    rm "$passwords"
    printf '%s\n' 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    printf '%s\n' "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        echo "CREATE DATABASE \"${POSTGRES_DB:-$user}\";" | postgres --single -j postgres >/dev/null
    fi
}

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    create
fi
exec "$@"
