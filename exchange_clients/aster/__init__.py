"""Aster."""
