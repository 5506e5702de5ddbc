import jinja2
import markupsafe._speedups

print(jinja2.Template("{{ a }} {{ b }}").render(a="user", b="site"), markupsafe._speedups.__file__)
