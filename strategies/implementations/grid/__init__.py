"""Grid: maker entries one step apart, every fill with its own take-profit."""
