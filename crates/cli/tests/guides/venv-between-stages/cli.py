import sys

import click


@click.command()
@click.argument("name")
def hello(name):
    click.echo(f"hello {name} {sys.prefix} {sys.base_prefix}")


hello()
