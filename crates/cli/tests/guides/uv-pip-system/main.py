import httpx

print(httpx.__version__, httpx.__file__)
