"""How Lighter signs: transactions as Poseidon2 hashes under Schnorr over ECgFp5, and auth tokens.

Two signers make the same bytes. The vendor's shared library (out of an installed `lighter-sdk`, loaded without importing that package)
is quick, but stamps expiry from the machine's clock and draws a random k. Ours takes both as inputs: it verifies, signs under virtual
time, and stands in where the library does not load. Before the library is used it must agree with ours on a transaction.

The hash of tokens and of transactions is one and the same Poseidon2: the recorded tokens verify under it.

Source: dossier sections 2.3-2.5 and 12; payloads/lighter/sign; elliottech/lighter-go types/txtypes, read 2026-11.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode

from exchange_clients.crypto import goldilocks, schnorr
from exchange_clients.crypto.poseidon2 import hash_n_to_one, hash_to_quintic, sponge
from exchange_clients.errors import ConfigError
from exchange_clients.signing import Channel, Command, Credentials, HttpRequest, SignContext, SignedCommand
from exchange_clients.transport.offload import Offload

TX_LIFE_MS: Final = 10_000
"""A transaction of ours that the sequencer has not taken by then is void: one whose answer was lost cannot appear later.

The vendor's library always gives 599 s."""
TOKEN_LIFE_S: Final = 3600
LIBRARY_VERSION: Final = "1.1"
_MAX_ATTRIBUTES: Final = 4


class TxType(IntEnum):
    CHANGE_PUB_KEY = 8
    CREATE_ORDER = 14
    CANCEL_ORDER = 15
    CANCEL_ALL_ORDERS = 16
    MODIFY_ORDER = 17
    UPDATE_LEVERAGE = 20
    CREATE_GROUPED_ORDERS = 28
    UPDATE_MARGIN = 29
    APPROVE_INTEGRATOR = 45


class Attribute(IntEnum):
    """Optional extras of a transaction. CANCEL_ALL_MARKET_INDEX counts even when it is 0; for the others 0 means absent."""

    INTEGRATOR_ACCOUNT_INDEX = 1
    INTEGRATOR_TAKER_FEE = 2
    INTEGRATOR_MAKER_FEE = 3
    SKIP_NONCE = 4
    CANCEL_ALL_MARKET_INDEX = 5
    SELF_TRADE_BEHAVIOR_MODE = 6
    SELF_TRADE_EQUALITY_MODE = 7
    ORDER_VERSION = 8


ORDER_FIELDS: Final = (
    "MarketIndex",
    "ClientOrderIndex",
    "BaseAmount",
    "Price",
    "IsAsk",
    "Type",
    "TimeInForce",
    "ReduceOnly",
    "TriggerPrice",
    "OrderExpiry",
)
FIELDS: Final[Mapping[TxType, tuple[str, ...]]] = {
    TxType.CHANGE_PUB_KEY: (),
    TxType.CREATE_ORDER: ORDER_FIELDS,
    TxType.CANCEL_ORDER: ("MarketIndex", "Index"),
    TxType.CANCEL_ALL_ORDERS: ("TimeInForce", "Time"),
    TxType.MODIFY_ORDER: ("MarketIndex", "Index", "BaseAmount", "Price", "TriggerPrice"),
    TxType.UPDATE_LEVERAGE: ("MarketIndex", "InitialMarginFraction", "MarginMode"),
    TxType.CREATE_GROUPED_ORDERS: ("GroupingType",),
    TxType.UPDATE_MARGIN: ("MarketIndex", "USDCAmount", "Direction"),
    TxType.APPROVE_INTEGRATOR: (
        "IntegratorAccountIndex",
        "MaxPerpsTakerFee",
        "MaxPerpsMakerFee",
        "MaxSpotTakerFee",
        "MaxSpotMakerFee",
        "ApprovalExpiry",
    ),
}
"""Fields of each transaction in the order in which they are hashed and written, behind the six common ones."""


@dataclass(frozen=True, slots=True)
class Tx:
    """A transaction before it is stamped and signed.

    `orders` belongs to grouped orders, `public_key` to a key change.

    Raises:
        ValueError: fields are missing, too many, or too many attributes are set.
    """

    type: TxType
    fields: Mapping[str, int]
    orders: tuple[Mapping[str, int], ...] = ()
    attributes: Mapping[int, int] = field(default_factory=dict)
    public_key: bytes = b""

    def __post_init__(self) -> None:
        if set(self.fields) != set(FIELDS[self.type]) or any(set(order) != set(ORDER_FIELDS) for order in self.orders):
            raise ValueError(f"{self.type.name} has the fields {', '.join(FIELDS[self.type])}")
        if len(self.attributes) > _MAX_ATTRIBUTES:
            raise ValueError(f"a transaction carries at most {_MAX_ATTRIBUTES} attributes")

    def with_attribute(self, attribute: Attribute, value: int) -> Tx:
        return Tx(self.type, self.fields, self.orders, {**self.attributes, attribute: value}, self.public_key)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who sends a transaction, on which chain, with which nonce, valid until when (ms)."""

    chain_id: int
    account_index: int
    api_key_index: int
    nonce: int
    expired_at: int


class SignedTx(NamedTuple):
    """`info` is the JSON text for the wire, `hash` names the transaction at the venue."""

    type: TxType
    info: str
    hash: str


def tx_hash(tx: Tx, stamp: Stamp) -> bytes:
    """The 40 bytes that are signed."""
    elements = [stamp.chain_id, tx.type, stamp.nonce, stamp.expired_at, stamp.account_index, stamp.api_key_index]
    if tx.type is TxType.CREATE_GROUPED_ORDERS:
        elements.append(tx.fields["GroupingType"])
        elements += hash_n_to_one([sponge([order[name] for name in ORDER_FIELDS], 4) for order in tx.orders])
    elif tx.type is TxType.CHANGE_PUB_KEY:
        elements += goldilocks.from_bytes(tx.public_key)
    elif tx.type is TxType.UPDATE_MARGIN:
        amount = tx.fields["USDCAmount"]
        elements += [tx.fields["MarketIndex"], amount & 0xFFFF_FFFF, amount >> 32, tx.fields["Direction"]]
    else:
        elements += [tx.fields[name] for name in FIELDS[tx.type]]
    digest = hash_to_quintic([e % goldilocks.P for e in elements])
    counted = sorted((k, v) for k, v in tx.attributes.items() if v or k == Attribute.CANCEL_ALL_MARKET_INDEX)
    if counted:
        pairs = [*counted, *[(0, 0)] * (_MAX_ATTRIBUTES - len(counted))]
        digest = hash_to_quintic([*digest, *hash_to_quintic([e for pair in pairs for e in pair])])
    return goldilocks.to_bytes(digest)


def tx_info(tx: Tx, stamp: Stamp, signature: bytes) -> str:
    """The JSON text of a signed transaction, keys in the venue's order. An owner's `L1Sig` is left empty for the caller to fill."""
    info: dict[str, Any] = {"AccountIndex": stamp.account_index, "ApiKeyIndex": stamp.api_key_index}
    info |= {name: tx.fields[name] for name in FIELDS[tx.type]}
    if tx.orders:
        info["Orders"] = [{name: order[name] for name in ORDER_FIELDS} for order in tx.orders]
    if tx.public_key:
        info |= {"PubKey": base64.b64encode(tx.public_key).decode(), "L1Sig": ""}
    info |= {"ExpiredAt": stamp.expired_at, "Nonce": stamp.nonce, "Sig": base64.b64encode(signature).decode()}
    if tx.type is TxType.APPROVE_INTEGRATOR:
        info["L1Sig"] = ""
    info["L2TxAttributes"] = {str(int(k)): v for k, v in sorted(tx.attributes.items())} or None
    return json.dumps(info, separators=(",", ":"))


def parse_tx_info(type: TxType, text: str, chain_id: int) -> tuple[Tx, Stamp, bytes]:
    """Transaction, stamp and signature of a `tx_info` text."""
    info = json.loads(text)
    tx = Tx(
        type,
        {name: info[name] for name in FIELDS[type]},
        tuple({name: order[name] for name in ORDER_FIELDS} for order in info.get("Orders") or ()),
        {int(k): v for k, v in (info.get("L2TxAttributes") or {}).items()},
        base64.b64decode(info.get("PubKey") or ""),
    )
    stamp = Stamp(chain_id, info["AccountIndex"], info["ApiKeyIndex"], info["Nonce"], info["ExpiredAt"])
    return tx, stamp, base64.b64decode(info["Sig"])


def verify_tx(public_key: bytes, signed: SignedTx, chain_id: int) -> bool:
    """The text hashes to the stated hash and the key signed it."""
    tx, stamp, signature = parse_tx_info(signed.type, signed.info, chain_id)
    digest = tx_hash(tx, stamp)
    return digest.hex() == signed.hash and schnorr.verify(public_key, digest, signature)


def token_digest(prefix: str) -> bytes:
    """The 40 bytes that are signed for a token `deadline:account:key`."""
    return goldilocks.to_bytes(hash_to_quintic(goldilocks.from_bytes(prefix.encode(), pad=True)))


def verify_token(public_key: bytes, token: str) -> bool:
    prefix, _, signature = token.rpartition(":")
    try:
        return schnorr.verify(public_key, token_digest(prefix), bytes.fromhex(signature))
    except ValueError:
        return False


def registration_text(public_key: bytes, nonce: int, account_index: int, api_key_index: int) -> str:
    """What the owner's Ethereum key signs (`personal_sign`) so that a key change is accepted; goes into `L1Sig`."""
    return (
        f"Register Lighter Account\n\npubkey: 0x{public_key.hex()}\nnonce: 0x{nonce:016x}\naccount index: 0x{account_index:016x}\n"
        f"api key index: 0x{api_key_index:016x}\nOnly sign this message for a trusted client!"
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """One API key of one account on one chain."""

    private_key: bytes = field(repr=False)
    account_index: int
    api_key_index: int
    chain_id: int

    @classmethod
    def of(cls, credentials: Credentials, chain_id: int | str | None) -> Identity:
        """Raises ConfigError naming the field that cannot be used; never its value."""

        def number(name: str, low: int, high: int) -> int:
            text = credentials[name].strip()
            if not text.isdecimal() or not low <= int(text) <= high:
                raise ConfigError(f"{name} must be a number from {low} to {high}", venue="lighter")
            return int(text)

        try:
            key = bytes.fromhex(credentials["api_key_private_key"].strip().removeprefix("0x"))
            schnorr.secret_scalar(key)
        except ValueError:
            raise ConfigError("api_key_private_key must be 80 hex digits of a valid key", venue="lighter") from None
        if chain_id is None:
            raise ConfigError("this environment has no chain id: set endpoints.chain_id", venue="lighter")
        return cls(key, number("account_index", 0, 2**48 - 2), number("api_key_index", 0, 254), int(chain_id))

    def public_key(self) -> bytes:
        return schnorr.public_key(self.private_key)


class Backend(Protocol):
    """Signs synchronously; `now_ms` is venue time."""

    name: str

    def sign(self, tx: Tx, nonce: int, now_ms: int) -> SignedTx: ...
    def auth_token(self, deadline_s: int) -> str: ...


class PythonBackend:
    """Our own signer. The same input gives the same bytes, unless `k` (digest -> scalar) says otherwise."""

    name = "python"

    def __init__(self, identity: Identity, *, k: Callable[[bytes], int] | None = None) -> None:
        self._id = identity
        self._k = k

    def _sign(self, digest: bytes) -> bytes:
        return schnorr.sign(self._id.private_key, digest, self._k(digest) if self._k else None)

    def sign(self, tx: Tx, nonce: int, now_ms: int) -> SignedTx:
        stamp = Stamp(self._id.chain_id, self._id.account_index, self._id.api_key_index, nonce, now_ms + TX_LIFE_MS)
        digest = tx_hash(tx, stamp)
        return SignedTx(tx.type, tx_info(tx, stamp, self._sign(digest)), digest.hex())

    def auth_token(self, deadline_s: int) -> str:
        prefix = f"{deadline_s}:{self._id.account_index}:{self._id.api_key_index}"
        return f"{prefix}:{self._sign(token_digest(prefix)).hex()}"


class LibraryUnavailable(Exception):
    """The vendor's library is not installed, of another version, or does not agree with us."""


class _SignedTxResponse(ctypes.Structure):
    _fields_ = (
        ("txType", ctypes.c_uint8),
        ("txInfo", ctypes.c_void_p),
        ("txHash", ctypes.c_void_p),
        ("messageToSign", ctypes.c_void_p),
        ("err", ctypes.c_void_p),
    )


class _StrOrErr(ctypes.Structure):
    _fields_ = (("str", ctypes.c_void_p), ("err", ctypes.c_void_p))


class _CreateOrderTxReq(ctypes.Structure):
    _fields_ = (
        ("MarketIndex", ctypes.c_longlong),
        ("ClientOrderIndex", ctypes.c_longlong),
        ("BaseAmount", ctypes.c_longlong),
        ("Price", ctypes.c_uint32),
        ("IsAsk", ctypes.c_uint8),
        ("Type", ctypes.c_uint8),
        ("TimeInForce", ctypes.c_uint8),
        ("ReduceOnly", ctypes.c_uint8),
        ("TriggerPrice", ctypes.c_uint32),
        ("OrderExpiry", ctypes.c_longlong),
    )


_INT, _LONG, _BYTE, _TEXT = ctypes.c_int, ctypes.c_longlong, ctypes.c_uint8, ctypes.c_char_p
_SELF_TRADE = (_BYTE, _BYTE)
_FEES = (_LONG, _INT, _INT)
_TAIL = (_BYTE, _LONG, _INT, _LONG)  # skip nonce, nonce, api key index, account index
SIGNATURES: Final[Mapping[str, tuple[Any, tuple[Any, ...]]]] = {
    "CreateClient": (ctypes.c_void_p, (_TEXT, _TEXT, _INT, _INT, _LONG)),
    "CreateAuthToken": (_StrOrErr, (_LONG, _INT, _LONG)),
    "SignChangePubKey": (_SignedTxResponse, (_TEXT, *_TAIL)),
    "SignCreateOrder": (_SignedTxResponse, (*[_LONG] * 3, *[_INT] * 6, _LONG, *_FEES, *_SELF_TRADE, *_TAIL)),
    "SignCancelOrder": (_SignedTxResponse, (_LONG, _LONG, *_TAIL)),
    "SignCancelAllOrders": (_SignedTxResponse, (_INT, _LONG, _LONG, *_TAIL)),
    "SignModifyOrder": (_SignedTxResponse, (*[_LONG] * 5, *_FEES, *_SELF_TRADE, _BYTE, _LONG, _LONG, _INT, _LONG)),
    "SignUpdateLeverage": (_SignedTxResponse, (_LONG, _INT, _INT, *_TAIL)),
    "SignUpdateMargin": (_SignedTxResponse, (_LONG, _LONG, _INT, *_TAIL)),
    "SignCreateGroupedOrders": (_SignedTxResponse, (_BYTE, ctypes.POINTER(_CreateOrderTxReq), _INT, *_FEES, *_SELF_TRADE, *_TAIL)),
    "Free": (None, (ctypes.c_void_p,)),
}
"""What we declare of the library's functions; a test compares it with the header beside the library."""
_NIL_MARKET = 255


def find_library() -> Path:
    """The shared library of the installed `lighter-sdk`, without importing anything of it.

    Raises:
        LibraryUnavailable: not installed, another release line, or no build for this machine.
    """
    import importlib.metadata
    import platform

    try:
        distribution = importlib.metadata.distribution("lighter-sdk")
    except importlib.metadata.PackageNotFoundError:
        raise LibraryUnavailable("lighter-sdk is not installed") from None
    if not distribution.version.startswith(f"{LIBRARY_VERSION}."):
        raise LibraryUnavailable(f"lighter-sdk {distribution.version} is installed, {LIBRARY_VERSION}.x is needed")
    system = platform.system().lower()
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower(), "")
    ending = {"linux": "so", "darwin": "dylib", "windows": "dll"}.get(system, "so")
    path = Path(str(distribution.locate_file(f"lighter/signers/lighter-signer-{system}-{machine}.{ending}")))
    if not path.exists():
        raise LibraryUnavailable(f"lighter-sdk has no library for {system} {machine}")
    return path


@cache
def _load(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as e:
        raise LibraryUnavailable(f"the library does not load: {e}") from e
    return library


class LibraryBackend:
    """The vendor's signer. Blocks, and calls only what works without network: the nonce is always given."""

    name = "library"

    def __init__(self, identity: Identity, path: Path | None = None) -> None:
        self._id = identity
        self._library = _load(path or find_library())
        error = self._text(
            self._library.CreateClient(
                b"http://127.0.0.1", identity.private_key.hex().encode(), identity.chain_id, identity.api_key_index, identity.account_index
            )
        )
        if error:
            raise LibraryUnavailable(f"the library refuses the key: {error}")

    def _text(self, pointer: int | None) -> str:
        """The text behind a returned pointer, which is freed."""
        if not pointer:
            return ""
        try:
            return (ctypes.string_at(pointer)).decode()
        finally:
            self._library.Free(pointer)

    def sign(self, tx: Tx, nonce: int, now_ms: int) -> SignedTx:
        """`now_ms` is not used: the library stamps with the machine's clock. Raises ValueError with the library's own words."""
        if nonce < 0:
            raise ValueError("a nonce below 0 would make the library ask the venue")
        name, arguments = self._call_of(tx)
        extra = tx.attributes.get
        skip = extra(Attribute.SKIP_NONCE, 0)
        tail: tuple[int, ...] = (skip, nonce, self._id.api_key_index, self._id.account_index)
        if tx.type is TxType.MODIFY_ORDER:
            tail = (skip, nonce, extra(Attribute.ORDER_VERSION, 0), self._id.api_key_index, self._id.account_index)
        reply = getattr(self._library, name)(*arguments, *tail)
        info, digest, _, error = (self._text(p) for p in (reply.txInfo, reply.txHash, reply.messageToSign, reply.err))
        if error:
            raise ValueError(error)
        return SignedTx(tx.type, info, digest)

    def _call_of(self, tx: Tx) -> tuple[str, tuple[Any, ...]]:
        f, extra = tx.fields, tx.attributes.get
        fees = (
            extra(Attribute.INTEGRATOR_ACCOUNT_INDEX, 0),
            extra(Attribute.INTEGRATOR_TAKER_FEE, 0),
            extra(Attribute.INTEGRATOR_MAKER_FEE, 0),
            extra(Attribute.SELF_TRADE_BEHAVIOR_MODE, 0),
            extra(Attribute.SELF_TRADE_EQUALITY_MODE, 0),
        )
        match tx.type:
            case TxType.CREATE_ORDER:
                return "SignCreateOrder", (*(f[name] for name in ORDER_FIELDS), *fees)
            case TxType.CANCEL_ORDER:
                return "SignCancelOrder", (f["MarketIndex"], f["Index"])
            case TxType.CANCEL_ALL_ORDERS:
                return "SignCancelAllOrders", (f["TimeInForce"], f["Time"], extra(Attribute.CANCEL_ALL_MARKET_INDEX, _NIL_MARKET))
            case TxType.MODIFY_ORDER:
                return "SignModifyOrder", (*(f[name] for name in FIELDS[tx.type]), *fees)
            case TxType.UPDATE_LEVERAGE:
                return "SignUpdateLeverage", tuple(f[name] for name in FIELDS[tx.type])
            case TxType.UPDATE_MARGIN:
                return "SignUpdateMargin", tuple(f[name] for name in FIELDS[tx.type])
            case TxType.CREATE_GROUPED_ORDERS:
                orders = (_CreateOrderTxReq * len(tx.orders))(*(_CreateOrderTxReq(**order) for order in tx.orders))
                return "SignCreateGroupedOrders", (f["GroupingType"], orders, len(tx.orders), *fees)
            case TxType.CHANGE_PUB_KEY:
                return "SignChangePubKey", (f"0x{tx.public_key.hex()}".encode(),)
        raise ValueError(f"the library is not asked to sign {tx.type.name}")

    def auth_token(self, deadline_s: int) -> str:
        reply = self._library.CreateAuthToken(deadline_s, self._id.api_key_index, self._id.account_index)
        token, error = self._text(reply.str), self._text(reply.err)
        if error:
            raise ValueError(error)
        return token


def checked_library(identity: Identity, path: Path | None = None) -> LibraryBackend:
    """The library, after it signed a transaction that our code hashes to the same bytes and verifies, and a token.

    Raises:
        LibraryUnavailable: it is not there, or disagrees; the message says which.
    """
    backend, public_key = LibraryBackend(identity, path), identity.public_key()
    fields = dict(zip(ORDER_FIELDS, (1, 123, 1000, 405000, 1, 1, 0, 1, 0, 0), strict=True))
    try:
        signed = backend.sign(Tx(TxType.CREATE_ORDER, fields, attributes={Attribute.SKIP_NONCE: 1}), 7, 0)
        token = backend.auth_token(2_000_000_000)
    except ValueError as e:
        raise LibraryUnavailable(f"the library cannot sign: {e}") from e
    asked = parse_tx_info(signed.type, signed.info, identity.chain_id)[0]
    if dict(asked.fields) != fields or not verify_tx(public_key, signed, identity.chain_id) or not verify_token(public_key, token):
        raise LibraryUnavailable("the library signs something else than we ask for")
    return backend


class LighterSigner:
    """The account's signer behind the shared protocol. `repr` shows no key.

    `choice`: "library", "python", or "auto" (the library where it works, and a line in the log where it does not).
    """

    def __init__(
        self, identity: Identity, offload: Offload, warn: Callable[[str], None], *, choice: str = "auto", library: Path | None = None
    ) -> None:
        self.identity = identity
        self._library = library
        self._offload = offload
        self._warn = warn
        self._choice = choice
        self._backend: Backend | None = None
        self._choosing = asyncio.Lock()
        self._token = ""
        self._token_until_ms = 0

    def __repr__(self) -> str:
        return f"LighterSigner(account={self.identity.account_index}, key={self.identity.api_key_index}, private_key=***)"

    @property
    def address(self) -> str:
        return str(self.identity.account_index)

    async def backend(self) -> Backend:
        """Chosen and tested once, off the loop's thread."""
        async with self._choosing:
            if self._backend is None:
                self._backend = await self._choose()
            return self._backend

    async def _choose(self) -> Backend:
        if self._choice == "python":
            return PythonBackend(self.identity)
        try:
            return await self._offload.run(checked_library, self.identity, self._library)
        except (LibraryUnavailable, TimeoutError) as e:
            if self._choice == "library":
                raise ConfigError(f"signer 'library' was asked for: {e}", venue="lighter") from e
            self._warn(f"signer.fallback to=python reason={e}")
            return PythonBackend(self.identity)

    async def token(self, now_ms: int) -> str:
        """An auth token with at least a quarter of its life left."""
        if now_ms >= self._token_until_ms - TOKEN_LIFE_S * 250 or now_ms < self._token_until_ms - TOKEN_LIFE_S * 1000:
            deadline_s = now_ms // 1000 + TOKEN_LIFE_S
            backend = await self.backend()
            self._token = await self._offload.run(backend.auth_token, deadline_s)
            self._token_until_ms = deadline_s * 1000
        return self._token

    def token_refused(self, request: HttpRequest) -> None:
        """The venue no longer takes what this request carried."""
        if request.headers.get("authorization") == self._token:
            self.forget_token()

    def forget_token(self) -> None:
        """The venue refused it: the next caller gets a new one."""
        self._token_until_ms = 0

    async def authorize(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        return replace(request, headers={**request.headers, "authorization": await self.token(now_ms)})

    async def ws_login(self, role: str, now_ms: int) -> tuple[str | bytes, ...]:
        """None: tokens travel inside subscriptions."""
        return ()

    async def sign_command(self, command: Command, context: SignContext) -> SignedCommand:
        """`command.payload` is a `Tx`, or several for one batch, which take consecutive nonces."""
        if context.nonce is None:
            raise ConfigError("a transaction needs a nonce", venue="lighter")
        backend = await self.backend()
        txs: Sequence[Tx] = (command.payload,) if isinstance(command.payload, Tx) else tuple(command.payload)
        batch = not isinstance(command.payload, Tx)
        signed = await self._offload.run(_sign_all, backend, txs, context.nonce, context.now_ms)
        if command.channel is Channel.WS:
            return SignedCommand(message=_frame(signed, batch), correlation_id=signed[0].hash, fingerprint=signed[0].hash)
        pairs = (
            {"tx_types": json.dumps([int(s.type) for s in signed]), "tx_infos": json.dumps([s.info for s in signed])}
            if batch
            else {"tx_type": int(signed[0].type), "tx_info": signed[0].info}
        )
        path = "/api/v1/sendTxBatch" if batch else "/api/v1/sendTx"
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return SignedCommand(HttpRequest("POST", path, body=urlencode(pairs).encode(), headers=headers), fingerprint=signed[0].hash)


def _sign_all(backend: Backend, txs: Sequence[Tx], nonce: int, now_ms: int) -> list[SignedTx]:
    return [backend.sign(tx, nonce + i, now_ms) for i, tx in enumerate(txs)]


def _frame(signed: Sequence[SignedTx], batch: bool) -> str:
    """The socket message; its id is the first hash."""
    first = signed[0]
    if batch:
        data: dict[str, Any] = {
            "id": first.hash,
            "tx_types": json.dumps([int(s.type) for s in signed]),
            "tx_infos": json.dumps([s.info for s in signed]),
        }
        return json.dumps({"type": "jsonapi/sendtxbatch", "data": data})
    return json.dumps({"type": "jsonapi/sendtx", "data": {"id": first.hash, "tx_type": int(first.type), "tx_info": json.loads(first.info)}})
