#!/bin/bash
# Makes the database at the first start, then becomes the server.
set -Eeuo pipefail
shopt -s nullglob

say() { printf '%s\n' "$*" >&2; }

# Sets a variable from itself, from the file that NAME_FILE names, or to a default.
from_file() {
    local name=$1 file_name=$1_FILE value
    if [ -n "${!name:-}" ] && [ -n "${!file_name:-}" ]; then
        say "error: $name and $file_name are both set; give one of them"
        exit 1
    fi
    value=${!name:-${2:-}}
    if [ -n "${!file_name:-}" ]; then value=$(<"${!file_name}"); fi
    export "$name=$value"
    unset "$file_name"
}

make_folders() {
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA" || :
    mkdir -p /var/run/postgresql
    chmod 03775 /var/run/postgresql || :
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        if [ "$(id -u)" = 0 ]; then find "$POSTGRES_INITDB_WALDIR" ! -user postgres -exec chown postgres '{}' +; fi
        chmod 700 "$POSTGRES_INITDB_WALDIR"
    fi
    if [ "$(id -u)" = 0 ]; then
        find "$PGDATA" ! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql ! -user postgres -exec chown postgres '{}' +
    fi
}

check_password() {
    if [ "${#POSTGRES_PASSWORD}" -ge 100 ]; then
        say 'note: the password has more than 99 characters, which old client programs cannot send'
    fi
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        say 'Error: Database is uninitialized and superuser password is not specified.'
        say 'help: set it with `-e POSTGRES_PASSWORD=…` (or POSTGRES_PASSWORD_FILE);'
        say '      POSTGRES_HOST_AUTH_METHOD=trust lets everybody in without one'
        exit 1
    fi
    if [ "$POSTGRES_HOST_AUTH_METHOD" = trust ]; then
        say 'note: POSTGRES_HOST_AUTH_METHOD is trust: whoever reaches the port may do anything in the database'
    fi
}

make_database() {
    # initdb wants a user with a name.
    if ! getent passwd "$(id -u)" > /dev/null; then
        say "error: initdb needs an entry in /etc/passwd for the user $(id -u); use the user postgres (999)"
        exit 1
    fi
    local arguments=(--username="$POSTGRES_USER")
    if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then arguments+=(--waldir "$POSTGRES_INITDB_WALDIR"); fi
    # The words of POSTGRES_INITDB_ARGS are a shell's.
    eval 'initdb "${arguments[@]}" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") '"$POSTGRES_INITDB_ARGS"' "$@"'
}

allow_hosts() {
    local method=$POSTGRES_HOST_AUTH_METHOD
    if [ -z "$method" ]; then method=$(postgres -C password_encryption "${@:2}"); fi
    printf '\nhost all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
}

# SQL without a startup file, as the superuser, stopping at the first error.
run_sql() {
    local words=(psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password)
    if [ -n "$POSTGRES_DB" ]; then words+=(--dbname "$POSTGRES_DB"); fi
    PGHOST='' PGHOSTADDR='' "${words[@]}" "$@"
}

create_database() {
    [ "$POSTGRES_DB" != postgres ] || return 0
    local there
    there=$(POSTGRES_DB='' run_sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only \
        <<< "SELECT 1 FROM pg_database WHERE datname = :'db';")
    if [ -z "$there" ]; then
        POSTGRES_DB='' run_sql --dbname postgres --set db="$POSTGRES_DB" <<< 'CREATE DATABASE :"db";'
    fi
}

# Functions that scripts in /docker-entrypoint-initdb.d call by these names.
docker_process_sql() { run_sql "$@"; }

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh)
            if [ -x "$file" ]; then
                say "running $file"
                "$file"
            else
                say "reading $file"
                . "$file"
            fi
            ;;
        *.sql) say "running $file"; run_sql -f "$file" ;;
        *.sql.gz) say "running $file"; gunzip -c "$file" | run_sql ;;
        *.sql.xz) say "running $file"; xzcat "$file" | run_sql ;;
        *.sql.zst) say "running $file"; zstd -dc "$file" | run_sql ;;
        *) say "passing over $file" ;;
        esac
    done
}

wants_help() {
    local word
    for word in "$@"; do
        case $word in -'?' | --help | --describe-config | -V | --version) return 0 ;; esac
    done
    return 1
}

case ${1:-} in -*) set -- postgres "$@" ;; esac

if [ "${1:-}" = postgres ] && ! wants_help "$@"; then
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
    make_folders
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$BASH_SOURCE" "$@"
    fi
    if [ -s "$PGDATA/PG_VERSION" ]; then
        say 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
    else
        check_password
        ls /docker-entrypoint-initdb.d/ > /dev/null
        make_database
        allow_hosts "$@"
        export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
        # For the files' sake alone, and reached by nobody else.
        temporary=("${@:2}" -c listen_addresses='' -p "${PGPORT:-5432}")
        printf -v options '%q ' "${temporary[@]}"
        NOTIFY_SOCKET='' PGUSER=${PGUSER:-$POSTGRES_USER} pg_ctl -D "$PGDATA" -o "$options" -w start
        create_database
        run_init_files
        PGUSER=${PGUSER:-postgres} pg_ctl -D "$PGDATA" -m fast -w stop
        unset PGPASSWORD
        say 'PostgreSQL init process complete; ready for start up.'
    fi
fi
exec "$@"
