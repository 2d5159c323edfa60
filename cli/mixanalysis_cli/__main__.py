"""`python -m mixanalysis_cli` is `mixanalysis`."""

from mixanalysis_cli.app import main

main()
