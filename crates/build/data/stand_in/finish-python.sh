#!/bin/sh
# pip and its like from the wheels that ensurepip has, then bytecode for all.
set -eu
ldconfig
minor=$1
shift
bundled=/usr/local/lib/python$minor/ensurepip/_bundled
[ -d "$bundled" ] || bundled=/usr/local/share/python-wheels
pip=$(echo "$bundled"/pip-*.whl)
export PIP_CONFIG_FILE=/dev/null PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
export PIP_ROOT_USER_ACTION=ignore
PYTHONPATH=$pip "python$minor" -m pip install --quiet --no-compile --no-index \
    --find-links "$bundled" --find-links /.coil/wheels "$@"
find /usr/local -depth -type d -name __pycache__ -exec rm -rf '{}' +
"python$minor" -I /.coil/compile.py "/usr/local/lib/python$minor"
