"""Pure functions from wire structs to the domain: no I/O, no clock, no log. Phase 1, step 2; phase 2 and 3 add theirs.

What comes out is in base units, signed positions, rates of their own interval with longs paying a positive one.
"""

from __future__ import annotations
