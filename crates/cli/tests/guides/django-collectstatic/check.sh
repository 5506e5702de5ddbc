python - <<'P'
import time, urllib.error, urllib.request
while True:
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8000/").read().decode())
        break
    except urllib.error.URLError:
        time.sleep(0.1)
P
