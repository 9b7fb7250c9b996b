"""Sockets, topics, frames, books."""
