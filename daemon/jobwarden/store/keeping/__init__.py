"""What keeps the store in order over time: rounds, retention, repair, expiry, tallies, reclaiming by hand."""
