"""The client and its managers."""
