#!/bin/sh
# Installs packages that were fetched and checked before, in the order of the list.
set -eu
cd /
umask 022
if [ -x /.coil/before ]; then
    echo 'coil: before the packages'
    /.coil/before
fi
if [ -s /.coil/packages ]; then
    xargs dpkg --force-unsafe-io --unpack < /.coil/packages
    dpkg --force-unsafe-io --configure --pending
fi
if [ -x /.coil/after ]; then
    echo 'coil: after the packages'
    /.coil/after
fi
ldconfig
dpkg --audit
