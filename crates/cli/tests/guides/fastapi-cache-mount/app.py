from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{item}")
def read(item: int):
    return {"item": item}
