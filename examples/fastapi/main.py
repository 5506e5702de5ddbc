"""A small FastAPI service: two routes and a model."""

import platform

from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI(title="Notes")


class Note(BaseModel):
    """What the service accepts and gives back."""

    title: str
    stars: int = 0


@app.get("/")
def hello() -> dict[str, str]:
    """Says hello and which Python serves it."""
    return {"hello": "world", "python": platform.python_version()}


@app.post("/notes")
def add(note: Note) -> Note:
    """Gives the note back with one star more."""
    return note.model_copy(update={"stars": note.stars + 1})
