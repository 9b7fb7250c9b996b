"""How $title numbers book updates. Phase 3, step 2: the rule, and from where a snapshot comes."""

from __future__ import annotations

from typing import Final

from exchange_clients.book import SnapshotOnly

RULE: Final = SnapshotOnly()
