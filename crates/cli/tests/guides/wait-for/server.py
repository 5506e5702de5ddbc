import socket

with socket.create_server(("127.0.0.1", 5432)) as server:
    while True:
        server.accept()[0].close()
