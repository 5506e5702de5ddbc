#!/bin/sh
# Runs inside a new Debian system whose packages are unpacked: their own scripts make it one that works.
set -eu
cd /
umask 022
# Programs that scripts call before mawk's own script has said which awk it is.
[ -e /usr/bin/awk ] || ln -s mawk /usr/bin/awk
# Accounts are made by what this file says of passwords' ages.
[ -e /etc/login.defs ] || cp -p /etc/login.defs.dpkg-new /etc/login.defs
while read -r name version arch file; do
    script=/var/lib/dpkg/info/$file.preinst
    [ -x "$script" ] || continue
    echo "coil: preparing $name"
    DPKG_MAINTSCRIPT_PACKAGE=$name DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH=$arch \
        DPKG_MAINTSCRIPT_NAME=preinst DPKG_RUNNING_VERSION=1.21 DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT='' \
        "$script" install
done < /.coil/packages
# What all others take for granted, though few say so.
for name in base-passwd base-files; do
    dpkg --force-depends --force-unsafe-io --configure "$name"
done
dpkg --force-unsafe-io --configure --pending
ldconfig
dpkg --audit
