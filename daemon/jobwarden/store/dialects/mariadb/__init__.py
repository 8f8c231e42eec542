"""MariaDB 10.11 or newer: the proof that the store is pluggable. `engine` makes the connections, the rest is SQL."""
