"""The supervisor: a pure pool that decides, and the thin shell around it that acts."""
