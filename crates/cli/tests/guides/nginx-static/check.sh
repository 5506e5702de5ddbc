until curl -sf http://127.0.0.1:8080/; do sleep 0.1; done
