"""Who the key is, what the subaccount holds, fees and leverage from the chain, and the health of the nodes."""

from __future__ import annotations

import asyncio
import base64
import json
from decimal import Decimal
from typing import Any, Final

from exchange_clients.base_managers import BaseAccountManager
from exchange_clients.context import ClientContext
from exchange_clients.dydx import chain
from exchange_clients.dydx import messages as m
from exchange_clients.dydx.client.managers.market_data import DydxMarketData
from exchange_clients.dydx.client.utils import converters
from exchange_clients.dydx.client.utils.caching import GUARD_BLOCKS, venue_cache
from exchange_clients.dydx.client.utils.encoding import transaction
from exchange_clients.dydx.client.utils.fees import ask_or_none, fetch_rates, learn_rates
from exchange_clients.dydx.client.utils.options import Rules
from exchange_clients.dydx.signing import DydxSigner, signer_of
from exchange_clients.errors import ConfigError, DecodeError, PermissionDenied, RequestRefused, VenueError
from exchange_clients.model import AccountState, FeeRates, Instrument, KeyInfo, Lane, LeverageInfo, MarginMode, PositionMode
from exchange_clients.signing import Command, Credentials
from exchange_clients.transport.grpc import Node

PROBE_EVERY_S: Final = 30.0
PROBE_S: Final = 3.0
READ_BACK_S: Final = 60.0
RATES_EVERY_S: Final = 900.0
_CLOB: Final = "/dydxprotocol.clob."


async def fetch_subaccount(context: ClientContext) -> m.Subaccount:
    """The subaccount with its positions; public data.

    Raises:
        RequestRefused: the indexer does not know it: nothing was ever deposited.
    """
    signer = signer_of(context)
    return await _subaccount(context, signer.address, signer.number)


async def _subaccount(context: ClientContext, address: str, number: int) -> m.Subaccount:
    reply: m.SubaccountReply = await context.rest.query("subaccount", address=address, number=number)
    return reply.subaccount


class DydxAccountManager(BaseAccountManager):
    _probed_s = -1e9
    _probe: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """The owner and the subaccount."""
        if self.context.signer is None:
            return ""
        signer = signer_of(self.context)
        return f"{signer.address}/{signer.number}"

    async def verify_credentials(self) -> None:
        """The nodes speak for the configured chain, the account exists, and the key may act for it."""
        signer = signer_of(self.context)
        if signer.authenticator is None and signer.address != signer.key_address:
            raise PermissionDenied(
                f"the key belongs to {_short(signer.key_address)}, not to {_short(signer.address)}; "
                "a permissioned key needs its authenticator_id",
                venue=self.context.name,
            )
        block: chain.Block = await self.rest.query("latestBlock")
        if block.chain_id != signer.chain_id:
            raise ConfigError(f"the node is of chain {block.chain_id}, not {signer.chain_id}", venue=self.context.name)
        cache = venue_cache(self.context)
        cache.saw(block.height, self.context.runtime.clock.monotonic())
        try:
            account: chain.Account = await self.rest.query("account", address=signer.address)
        except RequestRefused as e:
            raise PermissionDenied(
                f"the chain does not know {_short(signer.address)}: fund the account first", venue=self.context.name
            ) from e
        cache.account_number = account.account_number
        if signer.authenticator is None:
            if account.public_key and account.public_key != signer.public_key:
                raise PermissionDenied(f"{_short(signer.address)} signs with another key", venue=self.context.name)
        else:
            await self._verify_permission(signer)

    async def _verify_permission(self, signer: DydxSigner) -> None:
        """The owner has registered the authenticator, and somewhere in it this key."""
        mine = await self._authenticator(signer)
        keys = _keys_in(mine.type, mine.config)
        if keys and signer.public_key not in keys:
            raise PermissionDenied(f"authenticator {signer.authenticator} is for another key", venue=self.context.name)

    async def _authenticator(self, signer: DydxSigner) -> chain.Authenticator:
        found: list[chain.Authenticator] = await self.rest.query("authenticators", address=signer.address)
        mine = next((a for a in found if a.id == signer.authenticator), None)
        if mine is None:
            raise PermissionDenied(f"{_short(signer.address)} has no authenticator {signer.authenticator}", venue=self.context.name)
        return mine

    async def fetch_key_info(self) -> KeyInfo:
        """The account's own key may do everything. What a permissioned one may do is what its message filters name."""
        signer = signer_of(self.context)
        if signer.authenticator is None:
            await self.rest.query("account", address=signer.address)
            return KeyInfo(can_trade=True, can_withdraw=True, position_mode=PositionMode.ONE_WAY)
        found = await self._authenticator(signer)
        allowed = _messages_in(found.type, found.config)
        if allowed is None:
            return KeyInfo(position_mode=PositionMode.ONE_WAY)
        clob = [name for name in allowed if name.startswith(_CLOB)]
        return KeyInfo(can_trade=chain.PLACE in clob, can_withdraw=len(clob) < len(allowed), position_mode=PositionMode.ONE_WAY)

    async def keep_session(self) -> None:
        """Look at the nodes now and then, beside everything else."""
        clock = self.context.runtime.clock
        if clock.monotonic() - self._probed_s > PROBE_EVERY_S and len(self.rest.nodes.nodes) > 1:
            self._probed_s = clock.monotonic()
            await self.probe_nodes()
        for contract_id in venue_cache(self.context).fees:
            if (instrument := self.context.instruments.by_contract(contract_id)) is not None:
                learn_rates(self.context, instrument, older_than_s=RATES_EVERY_S)

    async def probe_nodes(self) -> None:
        """The height of every node: one that is behind is used last."""
        endpoint = self.context.spec.endpoints["latestBlock"]
        cache, clock = venue_cache(self.context), self.context.runtime.clock
        answers: list[tuple[Node, int, float]] = []

        async def ask(node: Node) -> None:
            try:
                body = await self.rest.nodes.call_node(node, endpoint.path, b"", timeout_s=PROBE_S)
                block = chain.read_block(body)
            except (VenueError, DecodeError) as e:
                self.context.log.info("node.silent address=%s reason=%s", node.address, e)
                return
            if block.chain_id != signer_of(self.context).chain_id:
                self.context.log.error("node.foreign address=%s chain=%s", node.address, block.chain_id)
                node.lag = block.height
                return
            answers.append((node, block.height, clock.monotonic()))
            cache.saw(block.height, clock.monotonic())

        await asyncio.gather(*(ask(node) for node in self.rest.nodes.nodes))
        for node, height, at_s in answers:
            node.lag = max(0, cache.expected(at_s) - height)

    async def fetch_account(self) -> AccountState:
        return converters.account(await fetch_subaccount(self.context), self.context.runtime.clock.time_ns())

    async def fetch_public_account(self, names: Credentials) -> AccountState | None:
        number = names.get("subaccount_number", "0")
        if "address" not in names or not number.isdecimal():
            return None
        return converters.account(await _subaccount(self.context, names["address"], int(number)), self.context.runtime.clock.time_ns())

    async def fetch_fee_rates(self, instrument: Instrument) -> FeeRates:
        """The account's tier with the market's and the staker's discounts, from the chain."""
        return await fetch_rates(self.context, instrument)

    async def fetch_leverage(self, instrument: Instrument) -> LeverageInfo:
        signer, market_data = signer_of(self.context), self.context.market_data
        assert isinstance(market_data, DydxMarketData)
        chosen: dict[int, int] = await ask_or_none(self.context, "leverage", owner=signer.address, number=signer.number) or {}
        market = await market_data.fetch_market(instrument)
        return converters.leverage_info(market, chosen.get(venue_cache(self.context).grid(instrument).clob_pair_id))

    def encode_leverage(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> Command:
        if leverage < 1:
            raise ConfigError(f"{instrument.id}: leverage {leverage} is below 1", venue=self.context.name)
        pair = venue_cache(self.context).grid(instrument).clob_pair_id
        message = chain.update_leverage(signer_of(self.context).subaccount, pair, converters.margin_ppm(leverage))
        return transaction(self.context, [message], Lane.QUERY, stateful=True)

    async def _read_back(self, instrument: Instrument, leverage: Decimal, mode: MarginMode) -> LeverageInfo:
        """Until it shows, or the last block that could have taken it has passed."""
        cache, clock = venue_cache(self.context), self.context.runtime.clock
        last_block = cache.height + Rules.of(self.context).tx_blocks + GUARD_BLOCKS
        end = clock.monotonic() + READ_BACK_S
        while True:
            info = await self.fetch_leverage(instrument)
            if info.account_leverage == leverage or cache.height > last_block or clock.monotonic() > end:
                return info
            await clock.sleep(0.3)


def _parts(config: bytes) -> list[tuple[str, bytes]]:
    """Of a compound authenticator; empty when its form is not known."""
    try:
        return [(str(part["type"]), _config(part["config"])) for part in json.loads(config)]
    except (ValueError, KeyError, TypeError):
        return []


def _keys_in(kind: str, config: bytes) -> list[bytes]:
    """Public keys that an authenticator lets sign, as far as its form is known."""
    if kind == "SignatureVerification":
        return [config]
    return [key for part in _parts(config) for key in _keys_in(*part)] if kind in ("AllOf", "AnyOf") else []


def _messages_in(kind: str, config: bytes) -> frozenset[str] | None:
    """Types of messages that an authenticator lets pass; None: any, or its form is not known."""
    if kind == "MessageFilter":
        return frozenset(name.strip() for name in config.decode("utf-8", "replace").split(","))
    if kind not in ("AllOf", "AnyOf"):
        return None
    found = [_messages_in(*part) for part in _parts(config)]
    if kind == "AllOf":
        limits = [names for names in found if names is not None]
        return frozenset.intersection(*limits) if limits else None
    return None if not found or None in found else frozenset[str]().union(*(names for names in found if names is not None))


def _config(value: Any) -> bytes:
    """Base64 text, or a list of bytes."""
    if isinstance(value, str):
        return base64.b64decode(value)
    return bytes(value)


def _short(address: str) -> str:
    return f"{address[:8]}...{address[-4:]}"
