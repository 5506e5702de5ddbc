"""What Debian's setuptools looks for in the install command, with the meaning that it has upstream.

setuptools imports this module where it finds it; one that is not Debian's takes no notice of what is set here.
"""

import distutils.command.install

distutils.command.install.install.install_layout = None
# As if a prefix had been given: the names of what is installed end in the version of Python.
distutils.command.install.install.prefix_option = "upstream"
