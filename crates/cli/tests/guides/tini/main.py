import os

print(os.getpid() != 1, open("/proc/1/comm").read().strip())
