#!/bin/sh
set -eu
localedef -i en_US -c -f UTF-8 -A /usr/share/locale/locale.alias en_US.UTF-8 2>/dev/null || localedef -i en_US -c -f UTF-8 en_US.UTF-8
sample=$(echo /usr/share/postgresql/*/postgresql.conf.sample)
sed -i "s/^#\?listen_addresses[ =].*/listen_addresses = '*'/" "$sample"
install -d -o postgres -g postgres -m 3777 /var/run/postgresql
install -d -o postgres -g postgres -m 1777 /var/lib/postgresql/data
install -d /docker-entrypoint-initdb.d
ln -sf usr/local/bin/docker-entrypoint.sh /docker-entrypoint.sh
