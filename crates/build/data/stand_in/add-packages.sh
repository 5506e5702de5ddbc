#!/bin/sh
# Installs packages that were fetched and checked before, in the order of the list.
set -eu
cd /
umask 022
if [ -x /.coil/before ]; then
    echo 'coil: before the packages'
    /.coil/before
fi
: > /.coil/batch
unpack() {
    [ -s /.coil/batch ] || return 0
    xargs dpkg --force-unsafe-io --unpack < /.coil/batch
    : > /.coil/batch
}
while read -r line; do
    case $line in
    configure)
        unpack
        # Some may wait for what comes later; what the next one waits for does not.
        dpkg --force-unsafe-io --configure --pending || true
        ;;
    *) echo "$line" >> /.coil/batch ;;
    esac
done < /.coil/packages
unpack
dpkg --force-unsafe-io --configure --pending
if [ -x /.coil/after ]; then
    echo 'coil: after the packages'
    /.coil/after
fi
ldconfig
dpkg --audit
