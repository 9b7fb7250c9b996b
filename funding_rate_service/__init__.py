"""Funding rates of all venues, collected, stored and compared. This part holds the pure opportunity functions; strategies use the same."""
