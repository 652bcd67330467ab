"""`python -m porchlight`."""

from porchlight.cli import main

main()
