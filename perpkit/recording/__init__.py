"""Recordings of venues' public streams: made by `perpkit record`, heard again by `perpkit replay`, backtests and recorded worlds.

The format and its playback are `exchange_simulator.world.wire` and `.playback`; here is who writes them.
"""
