#!/bin/bash
set -euo pipefail
echo "$(id -un) of $(cat /groups) in $PWD: $(ls | xargs)"
cat /etc/motd /pipe
