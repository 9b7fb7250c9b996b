"""Bots: their configuration, the surroundings they run in, and how they are put together, run and stopped."""
