"""Strategies: the two-leg execution engine, risk, implementations. Knows the client contract, no venue and no simulator."""
