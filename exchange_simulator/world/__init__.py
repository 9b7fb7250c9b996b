"""Prices, liquidity and funding of simulated venues: a seeded process fitted on recorded markets, or the recordings themselves.

`docs/world.md` states the model, every figure and what is assumed for want of a recording.
"""
