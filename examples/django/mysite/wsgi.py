"""The entry that gunicorn calls; brings the database up to date first."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
call_command("migrate", interactive=False, verbosity=0)
