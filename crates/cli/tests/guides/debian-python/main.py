import sys

import six

print(six.__version__, sys.prefix, sys.base_prefix)
