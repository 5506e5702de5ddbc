#!/bin/bash
# Waits until HOST:PORT answers, then runs the rest.
set -e
host=${1%:*} port=${1#*:}
shift
until (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; do sleep 0.1; done
exec "$@"
