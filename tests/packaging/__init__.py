"""What is built, and what becomes of it on a machine that has never seen this repository."""
