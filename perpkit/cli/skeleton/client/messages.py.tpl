"""Wire structs and decoders, the source of each above it. Phase 1, step 2; phase 2 and 3 add theirs."""

from __future__ import annotations

import msgspec


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One level of a book as it is decoded, `strict=False`: floats live only until the feed makes ticks of them."""

    px: float
    sz: float
