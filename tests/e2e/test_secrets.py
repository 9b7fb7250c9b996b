"""E41: no key, token or signature in any log line, error, repr or traceback, whatever goes wrong; and what an import costs."""

import asyncio
import logging
import pickle
import re
import subprocess
import sys
import traceback
from decimal import Decimal as D

import pytest

from exchange_clients import venues
from exchange_clients.errors import VenueError
from exchange_clients.signing import Credentials
from exchange_clients.transport.runtime import Runtime
from exchange_simulator.conformance.bench import BTC, Bench, rest_order, set_up, take
from exchange_simulator.dialects.base import ConnectFault, Lose, RequestFault


class Everything(logging.Handler):
    """Every record of every logger, formatted with its traceback and its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record) + repr(record.args))


async def trouble(bench: Bench, said: list[str]) -> None:
    """Orders, faults of every kind, and what each says to its caller, locals of our own frames included."""

    async def attempt(work: object) -> None:
        try:
            await work  # type: ignore[misc]
        except Exception as e:
            said.append("".join(traceback.format_exception(e)))
            said.append(repr(e) + str(e) + repr(e.args))

    client = await bench.connected(request_timeout_s=0.3, command_timeout_s=0.3)
    said.append(repr(client.context) + repr(client.context.signer) + repr(client.context.credentials) + repr(client.config))
    await client.ws_manager.prepare_market_feed(client.instruments.get(BTC))
    resting = await rest_order(client)
    await take(client, "buy")
    faults = [
        RequestFault(status=500, body=b"boom"),
        RequestFault(status=401, body=b"who are you"),
        RequestFault(status=200, body=b"[" * 5_000),
        RequestFault(lose=Lose.REPLY),
        RequestFault(after_s=0.5),
        RequestFault(status=429, body=b"slow", headers={"Retry-After": "0"}),
    ]
    for n, fault in enumerate(faults):
        bench.hands.requests(fault, when=bench.is_command)
        await attempt(client.place_limit_order(BTC, D("0.01"), D(48_000 - n), "buy"))
        bench.hands.requests(fault, times=3)
        await attempt(client.get_open_positions())
        bench.hands.rest()
    await attempt(client.place_limit_order(BTC, D("0.01"), D(1), "buy"))
    await attempt(client.place_limit_order("NOPE", D("0.01"), D(1), "buy"))
    await attempt(client.amend_order(resting.client_order_id or "", price=D(48_500)))
    bench.hands.connects(ConnectFault(status=503), times=1)
    bench.drop_sockets()
    await asyncio.sleep(0.1)
    for session in list(bench.dialect.sessions.values()):
        session.send(b"{garbage")
    await attempt(client.cancel_all_orders())
    await client.disconnect()
    bench.hands.connects(ConnectFault(silent=True), times=10)
    await attempt(client.connect(timeout_s=0.2))
    bench.hands.rest()


@pytest.mark.parametrize("venue", venues.names())
def test_e41_secrets_stay_secret(venue: str) -> None:
    said: list[str] = []
    listening = Everything()
    root = logging.getLogger()
    level = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)

    async def main() -> set[str]:
        async with await set_up(venue, Runtime.system()) as bench:
            await trouble(bench, said)
            keys = bench.credentials()
            found = {keys[item.name] for item in bench.spec.credentials if item.secret and item.name in keys}
            for received in bench.dialect.received:
                found |= {value for name, value in received.headers.items() if re.search("authorization|sign", name.lower())}
                body = received.body.decode("utf-8", "replace")
                found |= set(re.findall(r'"auth":\s*"([^"]+)"', body)) | set(re.findall(r'"[rs]":"(0x[0-9a-f]{64})"', body))
                found |= set(re.findall(r"Sig%22%3A%22([^%]{40,})", body))
                found |= set(re.findall(r"signature=(0x[0-9a-f]{130})", body + received.query))
                found |= set(re.findall(r"/ws/([0-9a-f]{64})", received.path))  # a listen key
                if received.method == "GRPC" and bench.is_command(received):
                    found.add(received.body[-66:-2].hex())  # a transaction ends with its signature; the mode of the broadcast follows
            return found

    try:
        secrets = asyncio.run(main(), debug=True)
    finally:
        root.removeHandler(listening)
        root.setLevel(level)
    assert len(secrets) >= 3, "keys, and tokens or signatures that went over the wire"
    assert len(listening.text) > 5
    assert len(said) > 10
    everything = "\n".join([*listening.text, *said])
    for secret in secrets:
        for form in (secret, secret.removeprefix("0x"), secret.removeprefix("0x").upper(), secret[2:40]):
            assert form not in everything, "a secret was shown"
    address = next((i for i in venues.get(venue).spec.credentials if i.name == "account_address"), None)
    if address is not None:
        assert re.search(r"0x[0-9a-f]{40}\b", everything) is None, "a whole account address is shown"


def test_e41_credentials_do_not_leave_by_the_side_door() -> None:
    keys = Credentials("lighter", {"api_key_private_key": "c0ffee" * 10})
    for shown in (repr(keys), str(keys), f"{keys}", repr([keys]), repr({"k": keys})):
        assert "c0ffee" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(keys)
    with pytest.raises(VenueError) as caught:
        keys["other"]
    assert "c0ffee" not in "".join(traceback.format_exception(caught.value))


HEAVY = (
    "coincurve",
    "eth_account",
    "eth_keys",
    "Crypto",
    "lighter",
    "hyperliquid",
    "ccxt",
    "sqlalchemy",
    "numpy",
    "pandas",
    "alembic",
    "grpc",
)


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("venue", venues.names())
def test_importing_a_venue_imports_no_sdk_and_no_other_venue(venue: str) -> None:
    modules = imported_by(f"import exchange_clients.{venue}")
    assert f"exchange_clients.{venue}" in modules
    assert not modules & set(HEAVY)
    others = {name for name in modules for other in venues.names() if other != venue and name.startswith(f"exchange_clients.{other}")}
    assert not others
    assert not {
        m for m in modules if m.split(".")[0] in ("exchange_simulator", "strategies", "database", "perpkit", "funding_rate_service")
    }


def test_importing_the_package_is_cheap() -> None:
    modules = imported_by("import exchange_clients")
    assert not modules & {"aiohttp", "pydantic", "msgspec", "tenacity", *HEAVY}
    assert len(modules) - len(imported_by("pass")) < 20
    names = imported_by("from exchange_clients import venues; assert venues.names()")
    assert not {m for m in names for v in venues.names() if m.startswith(f"exchange_clients.{v}")}
