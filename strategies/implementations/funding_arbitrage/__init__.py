"""Long where funding is lower, short where it is higher, the same base quantity on both.

`config` (what a human may set), `scanner` (what is quoted), `gate` and `sizing` (whether and how much), `exits` (when to leave),
`strategy` (the cycle).
"""
