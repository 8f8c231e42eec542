"""SQLite: the embedded default. `engine` makes the connections, the other files hold the statements."""
