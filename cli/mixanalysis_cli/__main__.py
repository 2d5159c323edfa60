"""`python -m mixanalysis_cli` is `mixanalysis`."""

from mixanalysis_cli import main

main()
