import click

click.echo("poetry " + click.__version__)
