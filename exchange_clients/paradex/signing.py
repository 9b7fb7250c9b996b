"""How Paradex signs: typed data hashed with Pedersen (SNIP-12, revision 0), ECDSA on the Stark curve.

A message hash is `H("StarkNet Message", domain, account, struct)`, where H chains Pedersen hashes from 0 and ends with the count. What
never changes (type hashes, the domain, the account) is hashed once; an order costs nine Pedersen hashes and one signature. The account in
the hash is always the main one: a subkey signs for it. `client_id`, `instruction`, `flags`, `trigger_price`, `stp` and `recv_window` are
not signed.

The session token (JWT, five minutes) comes from the venue for a signed request. Keys stay in here; `repr` shows none.

Source: dossier sections 3 and 12; https://docs.paradex.trade/trading/api-authentication, read 2026-11.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from exchange_clients.errors import ConfigError, DecodeError, ProtocolError, VenueError
from exchange_clients.model import Lane
from exchange_clients.nesting import bounded_nesting
from exchange_clients.paradex import messages as m
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, SignContext, SignedCommand

if TYPE_CHECKING:
    from exchange_clients.context import ClientContext
    from exchange_clients.ratelimit import Limiter
    from exchange_clients.transport.rest import RestTransport

VENUE: Final = "paradex"
CURVE_ORDER: Final = 0x800000000000010FFFFFFFFFFFFFFFFB781126DCAE7B2321E66A241ADC64D2F
SMALLEST: Final = 2**128
"""No key and no address is that small by chance: what is smaller was cut off or mistyped."""
ADDRESS_BOUND: Final = 2**251 - 256
L1_CHAINS: Final = {"mainnet": 1, "testnet": 11155111}
"""Chain id inside the Ethereum signature that a key is derived from; the venue's own word is compared when connecting."""
SCALE: Final = 8
"""Sizes and prices are signed in units of 1e-8."""
AUTH_LIFE_S: Final = 180
SPARE_S: Final = 10.0
"""A token with so much left serves whoever comes while it is renewed."""
RENEW_BEFORE: Final = 0.4
"""A token is renewed when less than this part of its life is left: two of five minutes."""

# First 250 bits of keccak256 of the type strings; tests compute them again.
TYPE_HASHES: Final = {
    "StarkNetDomain(name:felt,chainId:felt,version:felt)": 0x98D1932052FC5137543DE5ED85B7A88555A4CD1FF5D5BFEDB62ED9B9A1F0DB,
    "Order(timestamp:felt,market:felt,side:felt,orderType:felt,size:felt,price:felt)": (
        0xA56D5225B97B257C15AE2CB1CC0EA605381A886CD75463DB45FD2EF9FBC255
    ),
    "ModifyOrder(timestamp:felt,market:felt,side:felt,orderType:felt,size:felt,price:felt,id:felt)": (
        0x201789BB587C17B251FD38DAF43B14807010EA721C2929A8C2FC33BF15C2E2C
    ),
    "Request(method:felt,path:felt,body:felt,timestamp:felt,expiration:felt)": (
        0x186CDEF6B179923C411C13C11B8A825F12BF34203BDDA0A984DA9D6F2313C2
    ),
    "Constant(action:felt)": 0xE84BBCB68E0F7C73A9058BA82B6DA9C1FFDC502EFCF034E78B0C003C22ECC9,
}
_DOMAIN, _ORDER, _MODIFY, _REQUEST, _CONSTANT = TYPE_HASHES.values()
_INITIALIZE: Final = 0x79DC0DA7C54B95F10AA182AD0A46400DB63156920ADB65ECA2654C0945A463
SIDES: Final = {"BUY": 1, "SELL": 2}


# ---- hashing


@cache
def _pedersen() -> Callable[[int, int], int]:
    from fast_stark_crypto import pedersen_hash

    return cast("Callable[[int, int], int]", pedersen_hash)


@cache
def short_string(text: str) -> int:
    """Up to 31 ASCII characters as one field element."""
    if len(text) > 31:
        raise ValueError(f"{text!r} is longer than 31 characters")
    return int.from_bytes(text.encode("ascii"), "big")


def chain(start: int, values: Sequence[int], count: int) -> int:
    """Continue a chain of Pedersen hashes over `values` and close it with the number of all elements in it."""
    pedersen = _pedersen()
    for value in values:
        start = pedersen(start, value)
    return pedersen(start, count)


@cache
def _begun(type_hash: int) -> int:
    return _pedersen()(0, type_hash)


def struct_hash(type_hash: int, values: Sequence[int]) -> int:
    return chain(_begun(type_hash), values, len(values) + 1)


@cache
def domain_hash(chain_id: str) -> int:
    return struct_hash(_DOMAIN, (short_string("Paradex"), short_string(chain_id), 1))


@cache
def message_prefix(chain_id: str, account: int) -> int:
    """What all messages of an account begin with."""
    pedersen = _pedersen()
    return pedersen(pedersen(pedersen(0, short_string("StarkNet Message")), domain_hash(chain_id)), account)


def message_hash(chain_id: str, account: int, struct: int) -> int:
    return chain(message_prefix(chain_id, account), (struct,), 4)


def quanta(text: str) -> int:
    """A wire number in units of 1e-8, exactly.

    Raises:
        ValueError: finer than that; cutting it would sign another order.
    """
    scaled = Decimal(text).scaleb(SCALE)
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"{text} is finer than 1e-{SCALE}")
    return whole


def order_hash(order: m.NewOrder | m.ModifyOrder, timestamp_ms: int, chain_id: str, account: int) -> int:
    """What is signed of an order, or of the new terms of one. Market types carry price 0."""
    fields = (
        timestamp_ms,
        short_string(order.market),
        SIDES[order.side],
        short_string(order.type),
        quanta(order.size),
        quanta(order.price),
    )
    if isinstance(order, m.ModifyOrder):
        return message_hash(chain_id, account, struct_hash(_MODIFY, (*fields, int(order.id))))
    return message_hash(chain_id, account, struct_hash(_ORDER, fields))


def auth_hash(timestamp_s: int, expiration_s: int, chain_id: str, account: int) -> int:
    """The request for a token; its path is signed without the public key that may follow it."""
    values = (short_string("POST"), short_string("/v1/auth"), 0, timestamp_s, expiration_s)
    return message_hash(chain_id, account, struct_hash(_REQUEST, values))


def onboarding_hash(chain_id: str, account: int) -> int:
    return message_hash(chain_id, account, struct_hash(_CONSTANT, (short_string("Onboarding"),)))


# ---- keys


def public_key(private_key: int) -> int:
    from fast_stark_crypto import get_public_key

    return int(get_public_key(private_key))


def sign(private_key: int, digest: int) -> str:
    """As the venue wants it: two decimal numbers in a JSON list."""
    from fast_stark_crypto import sign as stark_sign

    r, s = stark_sign(private_key, digest)
    return f'["{r}","{s}"]'


def account_address(public: int, proxy_hash: int, account_hash: int) -> int:
    """Where the account contract of a public key lives."""
    call = chain(0, (account_hash, _INITIALIZE, 2, public, 0), 5)
    return chain(0, (short_string("STARKNET_CONTRACT_ADDRESS"), 0, public, proxy_hash, call), 5) % ADDRESS_BOUND


def grind_key(seed: int) -> int:
    """A private key from any number, without the bias of a plain remainder (StarkEx)."""
    limit = 2**256 - 2**256 % CURVE_ORDER
    index = 0
    while True:
        key = int.from_bytes(hashlib.sha256(_even(seed) + _even(index)).digest(), "big")
        if key < limit:
            return key % CURVE_ORDER
        index += 1


def _even(number: int) -> bytes:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def derive_key(l1_private_key: str, l1_chain_id: int) -> int:
    """The Stark key that belongs to an Ethereum key: its signature of a fixed message, ground.

    Raises:
        ConfigError: it is no Ethereum key, or eth-account is not installed.
    """
    try:
        with bounded_nesting():
            from eth_account import Account
            from eth_account.messages import encode_typed_data
    except ImportError as e:
        raise ConfigError("deriving the key from an L1 key needs eth-account: install perpkit[paradex]", venue=VENUE) from e
    message = encode_typed_data(
        {"name": "Paradex", "version": "1", "chainId": l1_chain_id},
        {"Constant": [{"name": "action", "type": "string"}]},
        {"action": "STARK Key"},
    )
    try:
        signed = Account.from_key(l1_private_key).sign_message(message)
    except (ValueError, binascii.Error):
        raise ConfigError("l1_private_key is no Ethereum key (0x and 64 hex digits)", venue=VENUE) from None
    return grind_key(int(signed.r))


def l1_address_of(l1_private_key: str) -> str:
    with bounded_nesting():
        from eth_account import Account
    return str(Account.from_key(l1_private_key).address).lower()


def _hex(text: str, name: str, bound: int) -> int:
    try:
        number = int(text, 16)
    except ValueError:
        number = 0
    if not SMALLEST < number < bound:
        raise ConfigError(f"{name} is not a number of about 252 bits in hex", venue=VENUE)
    return number


def read_felt(text: str) -> int:
    """A number that the venue writes in hex."""
    try:
        return int(text, 16)
    except ValueError:
        raise ProtocolError(f"the venue sent {text[:80]!r} for a number in hex", venue=VENUE) from None


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose orders these are, and by which key. `account` None: the address is derived once the venue told its contract hashes."""

    private_key: int
    public_key: int
    account: int | None
    l1_address: str

    def __repr__(self) -> str:
        return f"Identity(public_key=0x{self.public_key:x}, private_key=***)"

    @classmethod
    def of(cls, credentials: Credentials, environment: str) -> Identity:
        """
        Raises:
            ConfigError: a key or address that cannot be one, or two that do not belong together.
        """
        l1_key, l1_address = credentials.get("l1_private_key"), credentials["l1_address"].lower()
        if "l2_private_key" in credentials:
            private = _hex(credentials["l2_private_key"], "l2_private_key", CURVE_ORDER)
        else:
            private = derive_key(credentials["l1_private_key"], L1_CHAINS[environment])
        if l1_key and l1_address_of(l1_key) != l1_address:
            raise ConfigError("l1_private_key is not the key of l1_address", venue=VENUE)
        account = _hex(credentials["l2_address"], "l2_address", 2**251) if "l2_address" in credentials else None
        return cls(private, public_key(private), account, l1_address)


# ---- the signer


class _Claims(msgspec.Struct, frozen=True):
    exp: int
    iat: int | None = None


def token_times(token: str, now_s: float) -> tuple[float, float]:
    """(end, length of life) of a token in seconds of venue time."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Claims)
    except (IndexError, binascii.Error, msgspec.DecodeError) as e:
        raise DecodeError(f"the token is no JWT: {e}", venue=VENUE) from e
    return float(claims.exp), claims.exp - (claims.iat if claims.iat is not None else now_s)


class ParadexSigner:
    """The account's signer. `attach` gives it the way to the venue, from which its tokens come."""

    def __init__(self, identity: Identity, chain_id: str, warn: Callable[..., None]) -> None:
        self.identity = identity
        self.chain_id = chain_id
        self._warn = warn
        self._account = identity.account
        self._rest: RestTransport | None = None
        self._limiter: Limiter | None = None
        self._renewing = asyncio.Lock()
        self._token = ""
        self._end_s = self._renew_at_s = 0.0
        self._messages = 0

    def __repr__(self) -> str:
        return f"ParadexSigner(public_key=0x{self.identity.public_key:x}, private_key=***)"

    def attach(self, rest: RestTransport, limiter: Limiter) -> None:
        self._rest, self._limiter = rest, limiter

    @property
    def address(self) -> str:
        """The account where it is named, else the public key it is derived from."""
        identity = self.identity
        return f"0x{identity.account if identity.account is not None else identity.public_key:x}"

    @property
    def known_account(self) -> int | None:
        """The main account's address; None until `account` has derived it."""
        return self._account

    def _venue(self) -> RestTransport:
        if self._rest is None:
            raise ConfigError("the signer is not attached to a client", venue=VENUE)
        return self._rest

    async def account(self) -> int:
        """The main account's address; without a configured one derived from the key, which must then be the account's own."""
        if self._account is None:
            config: m.SystemConfig = await self._venue().query("system/config", lane=Lane.UNWIND)
            if config.starknet_chain_id != self.chain_id:
                raise ConfigError(f"the venue signs for {config.starknet_chain_id}, not for {self.chain_id}", venue=VENUE)
            hashes = (read_felt(config.paraclear_account_proxy_hash), read_felt(config.paraclear_account_hash))
            self._account = account_address(self.identity.public_key, *hashes)
        return self._account

    async def token(self, now_ms: int, *, ahead_s: float = 0.0) -> str:
        """A session token that is not about to end, nor in `ahead_s`.

        One renewal at a time; meanwhile, and while it fails, the old token serves as long as it lives.
        """
        now_s = now_ms / 1000
        if not self._fresh(now_s + ahead_s) and not (self._renewing.locked() and now_s < self._end_s - SPARE_S):
            async with self._renewing:
                if not self._fresh(now_s + ahead_s):
                    try:
                        await self._renew(now_s)
                    except VenueError as e:
                        if now_s >= self._end_s - 1.0:
                            raise
                        self._renew_at_s = now_s + 5.0
                        self._warn("token.not_renewed left_s=%.0f reason=%s", self._end_s - now_s, e)
        return self._token

    def _fresh(self, now_s: float) -> bool:
        return bool(self._token) and now_s < self._renew_at_s

    async def _renew(self, now_s: float) -> None:
        rest, limiter = self._venue(), self._limiter
        account = await self.account()
        if limiter is not None:
            await limiter.acquire(rest.endpoint("auth").cost, Lane.UNWIND, timeout_s=10.0)
        start, end = int(now_s), int(now_s) + AUTH_LIFE_S
        headers = {
            "PARADEX-STARKNET-ACCOUNT": f"0x{account:x}",
            "PARADEX-STARKNET-SIGNATURE": sign(self.identity.private_key, auth_hash(start, end, self.chain_id, account)),
            "PARADEX-TIMESTAMP": str(start),
            "PARADEX-SIGNATURE-EXPIRATION": str(end),
        }
        endpoint = rest.endpoint("auth")
        path = endpoint.path.format(public_key=f"0x{self.identity.public_key:x}")
        answer: m.Token = rest.decode(endpoint, await rest.send(HttpRequest("POST", path, headers=headers)))
        self._end_s, life_s = token_times(answer.jwt_token, now_s)
        self._renew_at_s = self._end_s - RENEW_BEFORE * life_s
        self._token = answer.jwt_token

    def token_refused(self, request: HttpRequest) -> None:
        """The venue no longer takes what this request carried."""
        if request.headers.get("Authorization") == f"Bearer {self._token}":
            self.forget_token()

    def forget_token(self) -> None:
        """The next caller gets a new one."""
        self._token, self._end_s = "", 0.0

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return replace(request, headers={**request.headers, "Authorization": f"Bearer {await self.token(now_ms)}"})

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        return (rpc("auth", {"bearer": await self.token(now_ms)}, 0),)

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """`command.payload` is an `Action`; the orders in it are signed at venue time."""
        action: m.Action = command.payload
        account = await self.account()
        body = self._signed(action.body, context.now_ms, account)
        if command.channel is Channel.WS and action.rpc:
            self._messages += 1
            number = FIRST_COMMAND + self._messages
            params = {"orders": body} if action.rpc == "order.create_batch" else {**action.params, **msgspec.to_builtins(body or {})}
            return SignedCommand(message=rpc(action.rpc, params, number), correlation_id=str(number))
        content = msgspec.json.encode(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if content is not None else {}
        request = HttpRequest(action.method, action.path, action.query, content, headers)
        return SignedCommand(await self.authorize(request, context.now_ms))

    def _signed(self, body: Any, now_ms: int, account: int) -> Any:
        if isinstance(body, list):
            return [self._signed(one, now_ms, account) for one in body]
        if not isinstance(body, m.NewOrder | m.ModifyOrder):
            return body
        signature = sign(self.identity.private_key, order_hash(body, now_ms, self.chain_id, account))
        return msgspec.structs.replace(body, signature=signature, signature_timestamp=now_ms)


FIRST_COMMAND: Final = 1_000_000_000
"""Numbers of commands on the socket begin here, those of subscriptions below."""


def rpc(method: str, params: dict[str, Any], number: int) -> str:
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params, "id": number}).decode()


def signer_of(context: ClientContext) -> ParadexSigner:
    """The client's signer. Raises MissingCredentials on a read-only client."""
    return cast("ParadexSigner", context.require_signer())
