#!/bin/sh
set -eu
install -d -o redis -g redis /data
for program in redis-server redis-cli redis-benchmark redis-check-aof redis-check-rdb redis-sentinel; do
    [ ! -e "/usr/bin/$program" ] || ln -sf "/usr/bin/$program" "/usr/local/bin/$program"
done
