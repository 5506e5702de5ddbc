#!/bin/sh
set -eu
groupadd -r -g 999 redis
useradd -r -g redis -u 999 -d /var/lib/redis -s /usr/sbin/nologin redis
