"""Curve and hash arithmetic in plain Python: exact, quick enough for signing and checking orders, and not constant time.

Nothing here knows a venue. Field elements are ints; keys and signatures are bytes at the borders of `schnorr`.
"""
