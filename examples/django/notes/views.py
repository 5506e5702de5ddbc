"""The front page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from notes.models import Visit


def index(request: HttpRequest) -> HttpResponse:
    """Counts the visit and shows the count."""
    Visit.objects.create()
    return render(request, "notes/index.html", {"visits": Visit.objects.count()})
