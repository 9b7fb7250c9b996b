"""The client: composition, managers, converters."""
