#!/bin/sh
set -eu
groupadd -r -g 101 nginx
useradd -r -g nginx -u 101 -d /nonexistent -s /bin/false nginx
