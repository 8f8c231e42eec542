"""What `jobwarden doctor` finds out about a store: what any database can tell is here, the rest in its dialect."""
