"""`python -m flowseg`."""

from flowseg.cli import command

command()
