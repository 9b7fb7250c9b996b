"""What a backtest reads: funding histories, candles, quotes, recorded streams, the service's database.

Nothing is repaired in silence: a row that cannot be right ends the run with its file and line, a hole in a series is reported as a gap.
"""
