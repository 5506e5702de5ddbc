"""Draws a bar chart with cairo; its numbers come from PostgreSQL where there is one (DATABASE_URL)."""

import io
import os

import cairo
import psycopg2
from psycopg2 import extensions

DEMO = [("mon", 3), ("tue", 7), ("wed", 4), ("thu", 9)]


def visits():
    address = os.environ.get("DATABASE_URL")
    if not address:
        return DEMO
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("select day, visits from visits order by day")
        return cursor.fetchall()


def draw(rows):
    surface = cairo.ImageSurface(cairo.FORMAT_RGB24, 40 * len(rows), 100)
    context = cairo.Context(surface)
    context.set_source_rgb(1, 1, 1)
    context.paint()
    context.set_source_rgb(0.1, 0.4, 0.8)
    for place, (_, count) in enumerate(rows):
        context.rectangle(40 * place + 5, 100 - 10 * count, 30, 10 * count)
        context.fill()
    picture = io.BytesIO()
    surface.write_to_png(picture)
    return picture.getvalue()


rows = visits()
picture = draw(rows)
major, minor = divmod(extensions.libpq_version(), 10000)
print(f"libpq {major}.{minor}, cairo {cairo.cairo_version_string()}")
print(f"{len(rows)} bars, {sum(count for _, count in rows)} visits, a PNG: {picture.startswith(bytes([0x89]) + b'PNG')}")
