import getpass
import os

import six

print(getpass.getuser(), os.getcwd(), six.__file__, os.stat("main.py").st_uid == os.getuid())
