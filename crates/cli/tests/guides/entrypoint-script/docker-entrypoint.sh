#!/bin/bash
set -e
echo "preparing as $(whoami)"
exec gosu app "$@"
