"""`python -m sa3_edge`."""

from sa3_edge.cli import main

main()
