"""A small Flask application."""

from flask import Flask, jsonify, request

app = Flask(__name__)


@app.get("/")
def hello():
    """Greets whoever is named in the query."""
    return jsonify(hello=request.args.get("name", "world"))
