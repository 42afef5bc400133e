"""The campaign: flowseg is killed, its files are damaged, its inputs mutated, its disks filled, over and over.

`make campaign MINUTES=20` runs it; docs/reliability.md says what it looks for. It is no part of `make test`.
"""
