"""The command `jobwarden`: a thin edge for people and shells over settings, client and supervisor."""


def main() -> None:
    """Run the command of `sys.argv`; exit 0 success, 1 failed check or job, 2 wrong use, 130 interrupted."""
    import sys

    from jobwarden.cli.entry import enter

    sys.exit(enter(sys.argv[1:]))
