"""The exchange itself: pure, synchronous, deterministic. Time is an argument, money is an integer, nothing is random."""
