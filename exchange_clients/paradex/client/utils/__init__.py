"""Converters and number formats."""
