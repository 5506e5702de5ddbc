"""What the site remembers."""

from django.db import models


class Visit(models.Model):
    """One view of the front page."""

    at = models.DateTimeField(auto_now_add=True)
