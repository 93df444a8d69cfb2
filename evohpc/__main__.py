"""`python -m evohpc` is `evohpc`."""

from evohpc.cli import main

main()
