"""Who made a request: API v3 by recovering the signer from the parameters as they were sent, v1 by HMAC. Own code, not the client's.

Source: https://github.com/asterdex/api-docs (V3 and V1 futures, authentication), read 2026-11.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from exchange_simulator.dialects.base import Received, Refusal


def bad_signature() -> Refusal:
    return Refusal(-1022, "Signature for this request is not valid.", status=400)


def bad_key() -> Refusal:
    return Refusal(-2015, "Invalid API-key, IP, or permissions for action.", status=401)


def missing(name: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.", status=400)


def sent(received: Received) -> str:
    """Query and form exactly as they came; nothing stands between them."""
    return received.query + received.body.decode("utf-8", "replace")


def split(text: str) -> tuple[str, str]:
    """(what was signed, the signature): the signature's pair is taken out wherever it stands.

    Raises:
        Refusal: there is none.
    """
    pairs = text.split("&")
    signatures = [pair for pair in pairs if pair.startswith("signature=")]
    if len(signatures) != 1:
        raise missing("signature")
    return "&".join(pair for pair in pairs if pair is not signatures[0]), signatures[0].removeprefix("signature=")


def typed_data(message: str, chain_id: int) -> dict[str, Any]:
    """As the venue's documentation prints it."""
    fields = [("name", "string"), ("version", "string"), ("chainId", "uint256"), ("verifyingContract", "address")]
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in fields],
            "Message": [{"name": "msg", "type": "string"}],
        },
        "primaryType": "Message",
        "domain": {
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": "0x0000000000000000000000000000000000000000",
        },
        "message": {"msg": message},
    }


def recover(message: str, signature: str, chain_id: int) -> str:
    """The lower-case address that signed.

    Raises:
        Refusal: no signature of anybody.
    """
    from eth_account import Account
    from eth_account.messages import encode_typed_data

    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
        return str(Account.recover_message(encode_typed_data(full_message=typed_data(message, chain_id)), signature=raw)).lower()
    except Exception as e:  # whatever the libraries make of a stranger's bytes
        raise bad_signature() from e


def check_hmac(received: Received, secret: str, now_ms: int) -> None:
    """
    Raises:
        Refusal: the signature is not the key's, or the time is out of its window.
    """
    message, signature = split(sent(received))
    wanted = hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(wanted, signature):
        raise bad_signature()
    stamp, window = _int(received.params, "timestamp"), int(received.params.get("recvWindow") or 5000)
    if not (stamp < now_ms + 1000 and now_ms - stamp <= min(window, 60_000)):
        raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.", status=400)


def _int(params: Mapping[str, str], name: str) -> int:
    try:
        return int(params[name])
    except (KeyError, ValueError):
        raise missing(name) from None
