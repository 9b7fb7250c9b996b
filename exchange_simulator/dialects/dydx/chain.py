"""The chain as a validator sees it: accounts, signatures, sequences, blocks.

A transaction that passes its checks (CheckTx, code 0) is either done in the validator's memory at once (short-term orders) or waits for the
next block. What goes wrong in the block is seen in the transaction's record only. Signatures are verified with `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exchange_simulator.dialects.dydx import proto, wire

SIGN_MODE_DIRECT: Final = 1
SECP256K1_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
GAS_USED: Final = 80_000
KEPT: Final = 50_000
MAX_SUBACCOUNT: Final = 128_000
NONCE_CUTOFF: Final = 2**40
"""A sequence from here on is a timestamp nonce: milliseconds, within 30 s of the block's time, above the least of the last twenty."""
NONCE_WINDOW_MS: Final = 30_000
NONCES_KEPT: Final = 20
CLOB: Final = "/dydxprotocol.clob."
SENDING: Final = "/dydxprotocol.sending."
ACCOUNTPLUS: Final = "/dydxprotocol.accountplus."
MESSAGES: Final[Mapping[str, proto.Schema]] = {
    f"{CLOB}MsgPlaceOrder": proto.MSG_PLACE_ORDER,
    f"{CLOB}MsgCancelOrder": proto.MSG_CANCEL_ORDER,
    f"{CLOB}MsgBatchCancel": proto.MSG_BATCH_CANCEL,
    f"{CLOB}MsgUpdateLeverage": proto.MSG_UPDATE_LEVERAGE,
    f"{SENDING}MsgCreateTransfer": proto.MSG_CREATE_TRANSFER,
    f"{SENDING}MsgDepositToSubaccount": proto.MSG_DEPOSIT,
    f"{SENDING}MsgWithdrawFromSubaccount": proto.MSG_WITHDRAW,
    "/cosmos.bank.v1beta1.MsgSend": proto.MSG_SEND,
    f"{ACCOUNTPLUS}MsgAddAuthenticator": proto.MSG_ADD_AUTHENTICATOR,
    f"{ACCOUNTPLUS}MsgRemoveAuthenticator": proto.MSG_REMOVE_AUTHENTICATOR,
}
PUB_KEY_URL: Final = "/cosmos.crypto.secp256k1.PubKey"
EXTENSION_URL: Final = f"{ACCOUNTPLUS}TxExtension"
NATIVE: Final = {"dydx-mainnet-1": "adydx", "dydx-testnet-4": "adv4tnt"}


class Rejected(Exception):
    """CheckTx, or the block, says no. The same code means different things in different codespaces."""

    def __init__(self, codespace: str, code: int, log: str) -> None:
        super().__init__(f"{codespace}:{code}: {log}")
        self.codespace = codespace
        self.code = code
        self.log = log


def sdk(code: int, log: str) -> Rejected:
    return Rejected("sdk", code, log)


@dataclass(slots=True)
class Wallet:
    """An address: its account on the chain, what it holds outside subaccounts, who may sign for it."""

    address: str
    number: int
    public_key: bytes
    sequence: int = 0
    """Of the next transaction, those that wait counted."""
    committed: int = 0
    """The same as of the last block: what queries tell."""
    nonces: list[int] = field(default_factory=list)
    """Timestamp nonces in use, ascending."""
    ejected: int = NONCE_CUTOFF
    """The highest one that is not kept any more."""
    funds: dict[str, int] = field(default_factory=dict)
    """Denom -> amount, in its smallest unit."""
    authenticators: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    """Id -> (type, config)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a transaction. `owner` must have signed it."""

    url: str
    values: Mapping[str, Any]
    raw: bytes

    @property
    def name(self) -> str:
        return self.url.rpartition(".")[2]

    @property
    def is_clob(self) -> bool:
        return self.url.startswith(CLOB)

    @property
    def owner(self) -> str:
        match self.name:
            case "MsgPlaceOrder":
                return str(self._subaccount((self.values["order"] or {}).get("order_id"))["owner"])
            case "MsgCancelOrder":
                return str(self._subaccount(self.values["order_id"])["owner"])
            case "MsgBatchCancel" | "MsgUpdateLeverage":
                return str((self.values["subaccount_id"] or {}).get("owner", ""))
            case "MsgCreateTransfer":
                return str(((self.values["transfer"] or {}).get("sender") or {}).get("owner", ""))
            case "MsgWithdrawFromSubaccount":
                return str((self.values["sender"] or {}).get("owner", ""))
            case "MsgSend":
                return str(self.values["from_address"])
        return str(self.values["sender"])

    @staticmethod
    def _subaccount(order_id: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return (order_id or {}).get("subaccount_id") or {"owner": "", "number": 0}

    @property
    def is_short_term(self) -> bool:
        if self.name == "MsgBatchCancel":
            return True
        order_id = (
            self.values["order"]["order_id"] if self.name == "MsgPlaceOrder" and self.values["order"] else self.values.get("order_id")
        )
        return self.name in ("MsgPlaceOrder", "MsgCancelOrder") and order_id is not None and order_id["order_flags"] == 0


@dataclass(frozen=True, slots=True)
class Tx:
    """A decoded transaction."""

    raw: bytes
    hash: str
    body: Mapping[str, Any]
    auth: Mapping[str, Any]
    body_bytes: bytes
    auth_bytes: bytes
    signature: bytes
    public_key: bytes
    sequence: int
    messages: tuple[Message, ...]
    authenticators: tuple[int, ...]


@dataclass(slots=True)
class TxRecord:
    """A transaction that a block holds."""

    tx: Tx
    height: int
    ts_ns: int
    codespace: str = ""
    code: int = 0
    log: str = ""


def parse(raw: bytes) -> Tx:
    """
    Raises:
        Rejected: sdk:2, it is no transaction of known messages.
    """
    try:
        outer = proto.decode(proto.TX_RAW, raw)
        body = proto.decode(proto.TX_BODY, outer["body_bytes"])
        auth = proto.decode(proto.AUTH_INFO, outer["auth_info_bytes"])
        messages = []
        for item in body["messages"]:
            if item["type_url"] not in MESSAGES:
                raise proto.WireError(f"unable to resolve type URL {item['type_url']}")
            messages.append(Message(item["type_url"], proto.decode(MESSAGES[item["type_url"]], item["value"]), item["value"]))
        selected: list[int] = []
        for option in body["non_critical_extension_options"]:
            if option["type_url"] == EXTENSION_URL:
                selected = proto.decode(proto.TX_EXTENSION, option["value"])["selected_authenticators"]
        if len(auth["signer_infos"]) != 1 or len(outer["signatures"]) != 1 or not messages:
            raise proto.WireError("one signer, one signature and at least one message are expected")
        signer = auth["signer_infos"][0]
        key = signer["public_key"] or {"type_url": "", "value": b""}
        if key["type_url"] != PUB_KEY_URL:
            raise proto.WireError(f"public key of type {key['type_url']!r}")
        public_key = proto.decode(proto.PUB_KEY, key["value"])["key"]
    except proto.WireError as e:
        raise sdk(2, f"{e}: tx parse error") from None
    return Tx(
        raw,
        hashlib.sha256(raw).hexdigest().upper(),
        body,
        auth,
        outer["body_bytes"],
        outer["auth_info_bytes"],
        outer["signatures"][0],
        public_key,
        signer["sequence"],
        tuple(messages),
        tuple(selected),
    )


def signed_by(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether these 64 bytes (r, s; s in the lower half) are that key's signature of SHA-256(data)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    if len(signature) != 64 or len(public_key) != 33:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not 0 < r < SECP256K1_ORDER or not 0 < s <= SECP256K1_ORDER // 2:
        return False
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public_key)
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        return False
    return True


class Chain:
    """Accounts, the mempool and blocks. What messages do is the CLOB's and the bank's: `check` at CheckTx, `deliver` in the block."""

    def __init__(self, chain_id: str, genesis: int, block_s: float) -> None:
        self.chain_id = chain_id
        self.block_s = block_s
        self.height = genesis
        self.block_ns = 0
        self.wallets: dict[str, Wallet] = {}
        self.records: dict[str, TxRecord] = {}
        self.mempool: list[Tx] = []
        self._genesis = genesis
        self._times: list[int] = []
        self._seen: deque[str] = deque(maxlen=KEPT)
        self._known: set[str] = set()
        self._next_authenticator = 1

    # blocks

    def next_block(self, ts_ns: int) -> list[Tx]:
        """A block is made at that time; what it holds, in order."""
        self.height += 1
        self.block_ns = ts_ns
        self._times.append(ts_ns)
        held, self.mempool = self.mempool, []
        for wallet in {tx.messages[0].owner: self.wallets[tx.messages[0].owner] for tx in held}.values():
            wallet.committed = wallet.sequence
        return held

    def height_at(self, ts_ns: int) -> int:
        """Of the block that held what happened then: the first one made at or after that time, or the coming one.

        What happened before the first block is given the height it would have had.
        """
        if self._times and (before := self._times[0] - ts_ns) > 0:
            return self._genesis + 1 - int(before / 10**9 / self.block_s)
        return self._genesis + 1 + bisect_left(self._times, ts_ns)

    def record(self, tx: Tx, rejected: Rejected | None) -> None:
        found = self.records[tx.hash] = TxRecord(tx, self.height, self.block_ns)
        if rejected is not None:
            found.codespace, found.code, found.log = rejected.codespace, rejected.code, rejected.log
        if len(self.records) > KEPT:
            del self.records[next(iter(self.records))]

    # accounts

    def add(self, public_key: bytes) -> Wallet:
        wallet = Wallet(wire.address_of(public_key), len(self.wallets) + 11, public_key)
        wallet.funds = {wire.USDC: 1_000 * 10**6, self.native: 10**20}
        self.wallets[wallet.address] = wallet
        return wallet

    @property
    def native(self) -> str:
        return NATIVE.get(self.chain_id, "adv4tnt")

    def wallet(self, address: str) -> Wallet:
        found = self.wallets.get(address)
        if found is None:
            raise sdk(9, f"account {address} does not exist: unknown address")
        return found

    # CheckTx

    def broadcast(
        self, raw: bytes, check: Callable[[Tx, Wallet], None], at_once: Callable[[Tx, Wallet], None]
    ) -> tuple[str, Rejected | None]:
        """(hash, why it was rejected). `check` looks at the messages, `at_once` does what needs no block; both may raise Rejected."""
        name = hashlib.sha256(raw).hexdigest().upper()
        if name in self._known:
            return name, sdk(19, "tx already in mempool")
        try:
            tx = parse(raw)
            wallet = self._admit(tx)
            short = self._shape(tx)
            timed = not short and tx.sequence >= NONCE_CUTOFF
            if timed:
                self._check_nonce(tx, wallet)
            elif not short and tx.sequence != wallet.sequence:
                raise self._sequence(tx, wallet)
            self._verify(tx, wallet)
            self._fee(tx, wallet)
            check(tx, wallet)
            if short:
                at_once(tx, wallet)
            else:
                self._use(tx, wallet, timed=timed)
                self.mempool.append(tx)
        except Rejected as rejected:
            return name, rejected
        if len(self._seen) == KEPT:
            self._known.discard(self._seen[0])
        self._seen.append(name)
        self._known.add(name)
        return name, None

    def _admit(self, tx: Tx) -> Wallet:
        owners = {message.owner for message in tx.messages}
        if any(not wire.is_address(owner) for owner in owners):
            raise sdk(7, "decoding bech32 failed: invalid address")
        if len(owners) != 1:
            raise sdk(4, "a transaction has one signer: unauthorized")
        timeout = tx.body["timeout_height"]
        if timeout and self.height > timeout:
            raise sdk(30, f"block height: {self.height}, timeout height: {timeout}: tx timeout height")
        return self.wallet(owners.pop())

    def _shape(self, tx: Tx) -> bool:
        """Whether it is one short-term message, which needs no sequence. Mixed transactions are rejected."""
        clob = [m for m in tx.messages if m.is_clob]
        if any(m.is_short_term for m in clob):
            if len(tx.messages) > 1:
                raise sdk(18, "a transaction containing a short-term clob message may not contain more than one message: invalid request")
            return True
        others = [m for m in tx.messages if not m.is_clob]
        if clob and (len(others) > 1 or any(m.name != "MsgCreateTransfer" for m in others)):
            raise sdk(18, "a transaction containing clob messages may hold no others but one transfer: invalid request")
        return False

    def _check_nonce(self, tx: Tx, wallet: Wallet) -> None:
        now_ms, nonce = self.block_ns // 10**6, tx.sequence
        if not now_ms - NONCE_WINDOW_MS <= nonce <= now_ms + NONCE_WINDOW_MS:
            raise sdk(32, f"timestamp nonce {nonce} not within valid time window: incorrect account sequence")
        stale = [each for each in wallet.nonces if each < now_ms - NONCE_WINDOW_MS]
        wallet.ejected = max([wallet.ejected, *stale])
        wallet.nonces = wallet.nonces[len(stale) :]
        full = len(wallet.nonces) >= NONCES_KEPT
        if nonce in wallet.nonces or nonce <= wallet.ejected or (full and nonce < wallet.nonces[0]):
            raise sdk(32, f"timestamp nonce {nonce} already in use or smaller than the kept ones: incorrect account sequence")

    def _use(self, tx: Tx, wallet: Wallet, *, timed: bool) -> None:
        if not timed:
            wallet.sequence += 1
            return
        wallet.nonces = sorted([*wallet.nonces, tx.sequence])
        if len(wallet.nonces) > NONCES_KEPT:
            wallet.ejected = max(wallet.ejected, wallet.nonces.pop(0))

    def _sequence(self, tx: Tx, wallet: Wallet) -> Rejected:
        if tx.authenticators:
            return Rejected("accountplus", 104, "authenticator AllOf failed: sub-authenticator failed to authenticate")
        return sdk(32, f"account sequence mismatch, expected {wallet.sequence}, got {tx.sequence}: incorrect account sequence")

    def _verify(self, tx: Tx, wallet: Wallet) -> None:
        mode = ((tx.auth["signer_infos"][0]["mode_info"] or {}).get("single") or {}).get("mode")
        if mode != SIGN_MODE_DIRECT:
            raise sdk(4, "only SIGN_MODE_DIRECT is supported: unauthorized")
        document = proto.encode(
            proto.SIGN_DOC,
            {
                "body_bytes": tx.body_bytes,
                "auth_info_bytes": tx.auth_bytes,
                "chain_id": self.chain_id,
                "account_number": wallet.number,
            },
        )
        good = signed_by(tx.public_key, tx.signature, document)
        if tx.authenticators:
            self._authenticate(tx, wallet, good=good)
        elif wire.address_of(tx.public_key) != wallet.address:
            raise sdk(8, f"pubKey does not match signer address {wallet.address}: invalid pubkey")
        elif not good:
            raise sdk(
                4,
                f"signature verification failed; please verify account number ({wallet.number}), sequence ({wallet.sequence}) and chain-id "
                f"({self.chain_id}): unauthorized",
            )

    def _fee(self, tx: Tx, wallet: Wallet) -> None:
        """Transactions with clob messages cost nothing; others what the validators ask for."""
        if any(m.is_clob for m in tx.messages):
            return
        fee = tx.auth["fee"] or {"amount": [], "gas_limit": 0}
        gas = fee["gas_limit"]
        if gas < GAS_USED:
            raise sdk(11, f"out of gas in location: txSize; gasWanted: {gas}, gasUsed: {GAS_USED}: out of gas")
        wanted = {wire.USDC: -(-gas * 25 // 1000), self.native: gas * 12_500_000_000}
        paid = {coin["denom"]: int(coin["amount"]) for coin in fee["amount"]}
        if not any(paid.get(denom, 0) >= amount for denom, amount in wanted.items()):
            said = ",".join(f"{amount}{denom}" for denom, amount in wanted.items())
            raise sdk(13, f"insufficient fees; got: {''.join(f'{v}{k}' for k, v in paid.items())} required: {said}: insufficient fee")
        for denom, amount in paid.items():
            if wallet.funds.get(denom, 0) < amount:
                raise sdk(5, f"spendable balance is smaller than {amount}{denom}: insufficient funds")
        for denom, amount in paid.items():
            wallet.funds[denom] -= amount

    # permissioned keys

    def add_authenticator(self, wallet: Wallet, kind: str, config: bytes) -> int:
        number = self._next_authenticator
        self._next_authenticator += 1
        wallet.authenticators[number] = (kind, config)
        return number

    def _authenticate(self, tx: Tx, wallet: Wallet, *, good: bool) -> None:
        if len(tx.authenticators) != len(tx.messages):
            raise Rejected("accountplus", 2, "mismatch between the number of selected authenticators and messages")
        for number, message in zip(tx.authenticators, tx.messages, strict=True):
            found = wallet.authenticators.get(number)
            if found is None:
                raise Rejected("accountplus", 1, f"authenticator {number} not found for account {wallet.address}: authenticator not found")
            self._allow(*found, tx, message, good=good)

    def _allow(self, kind: str, config: bytes, tx: Tx, message: Message, *, good: bool) -> None:
        match kind:
            case "SignatureVerification":
                if config != tx.public_key or not good:
                    raise Rejected("accountplus", 100, "signature verification failed")
            case "MessageFilter":
                if message.url not in config.decode().split(","):
                    raise Rejected("accountplus", 101, f"message type {message.url} is not allowed")
            case "ClobPairIdFilter":
                if any(str(pair) not in config.decode().split(",") for pair in _pairs(message)):
                    raise Rejected("accountplus", 102, "clob pair id is not allowed")
            case "SubaccountFilter":
                if any(str(number) not in config.decode().split(",") for number in _subaccounts(message)):
                    raise Rejected("accountplus", 103, "subaccount number is not allowed")
            case "AllOf":
                for part in _parts(config):
                    try:
                        self._allow(*part, tx, message, good=good)
                    except Rejected as e:
                        raise Rejected("accountplus", 104, f"{e.log}: AllOf verification failed") from None
            case "AnyOf":
                failed = 0
                parts = _parts(config)
                for part in parts:
                    try:
                        self._allow(*part, tx, message, good=good)
                    except Rejected:
                        failed += 1
                if failed == len(parts):
                    raise Rejected("accountplus", 105, "AnyOf verification failed")
            case _:
                raise Rejected("accountplus", 1, f"no authenticator type {kind}")


def _parts(config: bytes) -> list[tuple[str, bytes]]:
    """Configurations inside AllOf and AnyOf: base64 text, or an array of bytes."""
    return [
        (each["type"], bytes(each["config"]) if isinstance(each["config"], list) else base64.b64decode(each["config"]))
        for each in json.loads(config)
    ]


def valid_authenticator(kind: str, config: bytes) -> bool:
    """Whether the chain would register it."""
    if kind not in ("AllOf", "AnyOf"):
        return kind in ("SignatureVerification", "MessageFilter", "ClobPairIdFilter", "SubaccountFilter")
    try:
        parts = _parts(config)
    except (ValueError, TypeError, KeyError):
        return False
    return len(parts) > 1 and all(valid_authenticator(*part) for part in parts)


def _order_id(message: Message) -> Mapping[str, Any] | None:
    if message.name == "MsgPlaceOrder":
        found: Mapping[str, Any] | None = message.values["order"]["order_id"]
        return found
    return message.values.get("order_id")


def _pairs(message: Message) -> Sequence[int]:
    if message.name == "MsgBatchCancel":
        return [batch["clob_pair_id"] for batch in message.values["short_term_cancels"]]
    if message.name == "MsgUpdateLeverage":
        return [entry["clob_pair_id"] for entry in message.values["clob_pair_leverage"]]
    order_id = _order_id(message)
    return [order_id["clob_pair_id"]] if order_id is not None else []


def _subaccounts(message: Message) -> Sequence[int]:
    if message.name in ("MsgBatchCancel", "MsgUpdateLeverage"):
        return [message.values["subaccount_id"]["number"]]
    order_id = _order_id(message)
    if order_id is not None:
        return [order_id["subaccount_id"]["number"]]
    transfer = message.values.get("transfer")
    return [transfer["sender"]["number"]] if transfer else []
