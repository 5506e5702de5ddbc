import grp
import pwd
import sys

print(*pwd.getpwnam("appuser")[2:], grp.getgrgid(pwd.getpwnam("server").pw_gid).gr_name, sys.version_info[:2])
