"""`python -m jobwarden` is the command `jobwarden`."""

from jobwarden.cli import main

main()
