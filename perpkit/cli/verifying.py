"""Whether a venue accepts keys, and what it says they may do: asked through the account's own proxy, without a socket or an order."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from exchange_clients.base_client import BaseExchangeClient
from exchange_clients.errors import AuthError, ConfigError, VenueError
from exchange_clients.model import NS_PER_HOUR, PositionMode
from exchange_clients.secret import Secret
from exchange_clients.signing import Credentials
from exchange_clients.spec import VenueSpec
from exchange_clients.venues import create_client
from perpkit.cli.failure import CREDENTIALS, OK, UNAVAILABLE, WRONG

ANSWER_S = 45.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Credentials, and how their venue is reached."""

    account: str
    spec: VenueSpec = field(repr=False)
    environment: str
    credentials: Credentials
    settings: Mapping[str, Any]
    proxy: Secret | None = None

    def client(self) -> BaseExchangeClient:
        """Not connected. Raises ConfigError or MissingCredentials for keys that cannot work."""
        way = {} if self.proxy is None else {"proxy": SecretStr(self.proxy.reveal())}
        return create_client(self.spec.name, {**self.settings, **way}, self.credentials)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of asking. `word`: ok, withdraws, refused or unreachable."""

    account: str
    venue: str
    environment: str
    word: str
    text: str
    can_withdraw: bool | None = None

    def code(self, allow_withdraw_keys: bool) -> int:
        """As the command exits."""
        if self.word == "withdraws":
            return OK if allow_withdraw_keys else WRONG
        return {"ok": OK, "refused": CREDENTIALS}.get(self.word, UNAVAILABLE)


async def ask_all(asked: Sequence[Asked]) -> list[Verdict]:
    """All at once; one that fails holds up no other."""
    return list(await asyncio.gather(*(_ask(one) for one in asked)))


async def _ask(one: Asked) -> Verdict:
    of = (one.account, one.spec.name, one.environment)
    try:
        client = one.client()
    except ConfigError as e:
        return Verdict(*of, "refused", e.message)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await _look(client, of)
    except AuthError as e:
        return Verdict(*of, "refused", f"the venue does not accept the key for this account: {e.message}")
    except ConfigError as e:
        return Verdict(*of, "refused", e.message)
    except TimeoutError:
        return Verdict(*of, "unreachable", f"no answer in {ANSWER_S:g} s; try again")
    except VenueError as e:
        return Verdict(*of, "unreachable", f"could not be asked: {e.message}; try again")
    finally:
        await client.disconnect()


async def _look(client: BaseExchangeClient, of: tuple[str, str, str]) -> Verdict:
    await client.measure_clock_offset()
    await client.instruments.load_all()
    await client.account_manager.verify_credentials()
    if not client.capabilities.key_info:
        return Verdict(*of, "ok", "accepted; the venue does not say what the key may do")
    key = await client.get_key_info()
    if key.can_trade is False:
        return Verdict(*of, "refused", "the key may not trade: make one that may", key.can_withdraw)
    found = ["accepted"]
    if key.can_trade:
        found.append("may trade")
    found.append({True: "CAN WITHDRAW", False: "cannot withdraw", None: "whether it can withdraw is not told"}[key.can_withdraw])
    if key.expires_ns is not None:
        left_h = (key.expires_ns - client.context.venue_time.now_ns()) / NS_PER_HOUR
        found.append(f"valid for {left_h / 24:.1f} days")
    if key.position_mode is PositionMode.HEDGE:
        found.append("the account is in hedge mode: switch it to one-way before trading")
    return Verdict(*of, "withdraws" if key.can_withdraw else "ok", ", ".join(found), key.can_withdraw)


def told(one: Verdict) -> dict[str, Any]:
    """For machines."""
    return {
        "account": one.account,
        "venue": one.venue,
        "environment": one.environment,
        "outcome": one.word,
        "text": one.text,
        "can_withdraw": one.can_withdraw,
    }
