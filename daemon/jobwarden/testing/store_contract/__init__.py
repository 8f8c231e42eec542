"""What every store must do, as tests: our own stores pass them, and so must one from another package.

    pip install 'jobwarden[testing]'
    python -m jobwarden.testing.store_contract URL [--yes] [arguments of pytest]

The store is found by the scheme of its URL (entry-point group `jobwarden.stores`). **The database at URL is emptied
before each test**: the command refuses one that holds jobs unless it is told `--yes`.
"""
