"""`python -m baigong` is the `baigong` command."""

from baigong.cli import main

main()
