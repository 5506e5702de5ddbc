import os
from pathlib import Path

from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

BASE = Path(__file__).resolve().parent
SECRET_KEY = "only an example"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "site_of_ours"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.staticfiles"]
MIDDLEWARE = ["whitenoise.middleware.WhiteNoiseMiddleware"]
STATIC_URL = "/static/"
STATIC_ROOT = BASE / "static"
STATICFILES_DIRS = [BASE / "assets"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE / "db.sqlite3"}}


def index(request):
    from django.contrib.auth.models import User
    styled = (STATIC_ROOT / "style.css").is_file()
    return HttpResponse(f"users {User.objects.count()}, static {styled}")


urlpatterns = [path("", index)]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_ours")
application = get_wsgi_application() if "gunicorn" in os.environ.get("SERVER_SOFTWARE", "") else None
