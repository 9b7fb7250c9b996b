"""One manager per concern."""
