#!/bin/sh
set -e
python server.py &
exec ./wait-for.sh 127.0.0.1:5432 "$@"
