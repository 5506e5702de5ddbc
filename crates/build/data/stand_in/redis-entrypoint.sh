#!/bin/sh
# Gives the data to the server's user, then becomes the command.
set -eu
case ${1:-} in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1:-}" = redis-server ]; then
    if [ "$(id -u)" = 0 ]; then
        find . ! -user redis -exec chown redis '{}' + 2>/dev/null || true
        exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
    fi
    # A container is reached by its published ports alone: whoever may connect is said there. A configuration of one's own wins.
    said=
    for word in "$@"; do
        case $word in
        --protected-mode | --bind) said=yes ;;
        *.conf) if [ -r "$word" ] && grep -qE '^[[:space:]]*protected-mode' "$word"; then said=yes; fi ;;
        esac
    done
    [ -n "$said" ] || set -- "$@" --protected-mode no
    # Files of data are for the server alone.
    if [ "$(umask)" = 0022 ]; then umask 0077; fi
fi
exec "$@"
