"""Rates of all markets from public data."""
