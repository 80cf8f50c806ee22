"""`python -m dropoff` is `dropoff`."""

from dropoff.cli import main

main()
