"""`python -m flowseg`."""

from flowseg.cli import main

main()
