"""What a user may choose on this venue: `venue_options` of the configuration."""

from __future__ import annotations

from typing import Final

import msgspec

from exchange_clients.context import ClientContext
from exchange_clients.errors import ConfigError

MAX_BLOCKS: Final = 20
"""How far ahead a last block may lie: the narrower of what the venue's documents and its code say."""
MAX_DAYS: Final = 94


class Rules(msgspec.Struct, frozen=True):
    """`venue_options` of the configuration. `cancel_unfilled_after_s` (None: never) concerns short-term orders that rest.

    A node takes a short-term order off its book when there is nothing to do for it (an IOC that found nothing). Another proposer may still
    fill it until its last block, so that is waited for; immediate orders live for `ioc_blocks` only. With `trust_removals` the order has
    ended as soon as what that one node had matched is told: faster, and sometimes wrong.
    """

    short_term_blocks: int = 10
    ioc_blocks: int = 8
    long_term_days: int = 28
    tx_blocks: int = 25
    cancel_unfilled_after_s: float | None = 5.0
    check_collateral: bool = True
    trust_removals: bool = False
    batched_books: bool = False
    resync_books_s: float = 45.0

    @classmethod
    def of(cls, context: ClientContext) -> Rules:
        """Raises ConfigError for options that are not there or make no sense."""
        options, there = context.config.venue_options, cls.__struct_fields__
        if unknown := sorted(set(options).difference(there)):
            raise ConfigError(f"no such venue option: {', '.join(unknown)}; there are {', '.join(sorted(there))}", venue=context.name)
        try:
            rules = msgspec.convert(options, cls)
        except msgspec.ValidationError as e:
            raise ConfigError(f"venue_options: {e}", venue=context.name) from None
        blocks = (rules.short_term_blocks, rules.ioc_blocks)
        if not all(1 <= n <= MAX_BLOCKS for n in blocks) or not 1 <= rules.long_term_days <= MAX_DAYS or rules.tx_blocks < 3:
            raise ConfigError(
                f"venue_options: short_term_blocks and ioc_blocks are 1 to {MAX_BLOCKS}, "
                f"long_term_days 1 to {MAX_DAYS}, tx_blocks at least 3",
                venue=context.name,
            )
        if rules.resync_books_s < 1 or (rules.cancel_unfilled_after_s is not None and rules.cancel_unfilled_after_s <= 0):
            raise ConfigError("venue_options: resync_books_s and cancel_unfilled_after_s are positive", venue=context.name)
        return rules
