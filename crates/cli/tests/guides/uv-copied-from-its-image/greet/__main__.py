import sys

import click

click.echo(f"synced {sys.prefix}")
