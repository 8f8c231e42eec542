"""The bytes of a generation: what stands in a handlers directory, read once and hashed as read; nothing is run."""
