"""PostgreSQL: one database for many hosts. `engine` makes the connections, the other files hold the statements."""
