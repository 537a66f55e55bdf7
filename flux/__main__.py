"""`python -m flux` is `flux`."""

from flux.cli import main

main()
