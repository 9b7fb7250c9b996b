"""Converters, number formats, venue-only caches."""
