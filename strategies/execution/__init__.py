"""Two-leg execution: journal before send, hedge what is filled, resolve what is unknown, unwind only what is ours.

Read in this order: `lots` (how much), `plan` (how), `decide` (what next, as one pure function), `proof` (one order from intent to proof),
`market` (whose the position is), `leg`, `pair` and `engine` (from plan to close), `recovery` (after a crash), `ledger` (what it earned).
"""
