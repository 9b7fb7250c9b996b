"""Every error of the dossier's catalogue (section 9) is one class of our tree, and says what became of a command."""

from __future__ import annotations

import json

import pytest

from exchange_clients import errors as e
from exchange_clients.errors import Outcome, classify
from exchange_clients.okx.common import ERRORS, SPEC, read_error, refusal

CATALOGUE: dict[type[e.VenueError], str] = {
    e.VenueUnavailable: "50001 50013 50026 51054 51412 50004 51149 63999 64007 64008",
    e.RateLimited: "50011 50061 50040 60014 60023",
    e.BadSignature: "50103 50104 50105 50106 50107 50111 50113 60005 60007 60009 60024",
    e.NonceError: "50112 50102 60004 60006",
    e.PermissionDenied: "50100 50101 50110 50114 50119 60011 60032 50009 50012 51009 51010 59113 51155 64003",
    e.OrderRefused: "50017 50019 50020 50036 50037",
    e.InsufficientMargin: "51008 51127 51131 51004 51186 51187 51502 51119",
    e.PriceOutOfBand: "51006 51116 51135 51136 51137 51138 51031",
    e.MinNotional: "51020 51120",
    e.InvalidOrder: "51121 51005 51101 51202 51203 51150 51108 51277 51278 51279 51280",
    e.PostOnlyWouldCross: "51511",
    e.ReduceOnlyViolation: "51169 51170 51148 51205 51112",
    e.OrderNotFound: "51400 51410 51503 51603",
    e.DuplicateClientOrderId: "51016 51011",
    e.MarketClosed: "51021 51022 51027 51028 51029 51030",
    e.TooManyOrders: "51025 51103 51174",
    e.RequestRefused: (
        "51001 51513 58001 59000 59102 59103 59107 50000 50002 50006 50014 50015 50016 50072 51000 51003"
        " 60012 60013 60019 60027 60028 60031"
    ),
    e.SubscriptionRefused: "60018 64001 64002 64004",
}
ROWS = [(code, kind) for kind, codes in CATALOGUE.items() for code in codes.split()]
UNKNOWN = (e.VenueUnavailable, e.RateLimited, e.SubscriptionRefused)


@pytest.mark.parametrize(("code", "kind"), ROWS)
def test_each_code_is_one_class(code: str, kind: type[e.VenueError]) -> None:
    error = refusal(code, "the venue's words")
    assert type(error) is kind
    assert (error.code, error.message) == (code, "the venue's words")
    assert error.outcome is (Outcome.UNKNOWN if kind in UNKNOWN else Outcome.REFUSED)


def test_the_table_has_no_code_that_the_catalogue_lacks() -> None:
    assert {code for code in ERRORS if code.isdigit()} == {code for code, _ in ROWS}
    assert len(ROWS) == len(dict(ROWS))


def test_a_code_that_nobody_knows_proves_nothing() -> None:
    assert refusal("99999", "?").outcome is Outcome.UNKNOWN


def body(code: str, message: str, data: object = ()) -> bytes:
    return json.dumps({"code": code, "msg": message, "data": list(data) if isinstance(data, tuple) else data}).encode()


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (200, body("0", ""), None),
        (200, body("51001", "Instrument ID does not exist"), ("51001", "Instrument ID does not exist")),
        (200, body("1", "All operations failed", [{"sCode": "51008"}]), None),
        (200, body("2", "Bulk operation partially succeeded", [{"sCode": "0"}, {"sCode": "51008"}]), None),
        (200, body("1", "no rows"), ("1", "no rows")),
        (401, body("50113", "Invalid Sign"), ("50113", "Invalid Sign")),
        (429, body("50011", "Too Many Requests"), ("50011", "Too Many Requests")),
        (503, b"<html>503</html>", ("", "<html>503</html>")),
    ],
)
def test_what_of_an_answer_is_an_error(status: int, answer: bytes, expected: tuple[str, str] | None) -> None:
    """HTTP 200 proves nothing; rows of a command are read one by one."""
    assert read_error(status, answer) == expected


def test_a_page_of_a_proxy_is_an_outage() -> None:
    error = classify(SPEC.errors, venue="okx", code="", message="<html>", http_status=502)
    assert isinstance(error, e.VenueUnavailable)
