"""Whatever is asked, the service answers as its document says and never with a failure of its own."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote as percent
from urllib.request import urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from funding_rate_service.api.problems import CONTRADICTION
from tests.service.asking import Asking
from tests.service.running import running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Failures(logging.Handler):
    """Keeps what was logged as a failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


PATIENCE_S = 40.0
"""Of a machine that does other things too."""
HEADERS = {"Authorization": "Bearer local-key"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """Whatever the tests asked of it, and in whatever order: at its end no reader is left and no failure was logged."""
    failed = Failures()
    logging.getLogger().addHandler(failed)
    try:
        with running(tmp_path_factory.mktemp("fuzz"), local_key="local-key", serve={"writes_per_minute": 1_000_000}) as ask:
            yield ask
            deadline = time.monotonic() + PATIENCE_S
            while subscribers(ask) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert subscribers(ask) == 0
    finally:
        logging.getLogger().removeHandler(failed)
    assert not [record.getMessage() for record in failed.records]


def subscribers(service: Asking) -> int:
    with urlopen(service.url + "/api/v1/health", timeout=PATIENCE_S) as answer:  # noqa: S310 - our own address
        return int(json.loads(answer.read())["subscribers"])


@pytest.fixture(scope="module")
def document(service: Asking) -> Any:
    return schemathesis.openapi.from_url(service.url + "/openapi.json")


def ask_everything(document: Any, mode: GenerationMode, examples: int) -> None:
    """So many requests of every operation, each answer checked against the document."""
    seen = set()
    for found in document.get_all_operations():
        operation = found.ok()
        seen.add(operation.path)

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case: Any) -> None:
            answer = case.call(headers=HEADERS)
            apart = [positive_data_acceptance] if b'"title":"%s"' % CONTRADICTION.encode() in answer.content else []
            if answer.status_code == 414:  # refused as well, by its length
                apart.append(negative_data_rejection)
            case.validate_response(answer, headers=HEADERS, excluded_checks=apart)

        try:
            ask()
        except Unsatisfiable:  # what takes nothing cannot be given something wrong
            assert mode is GenerationMode.NEGATIVE
            assert "{" not in operation.path
    assert len(seen) >= 23


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_any_request_is_answered_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    ask_everything(document, mode, 5)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_very_many_requests_are_answered_as_the_document_says(document: Any, mode: GenerationMode) -> None:
    ask_everything(document, mode, 300)


ODD = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "NaN",
            "-0",
            "1e400",
            "9" * 400,
            "\x00",
            "\ud7ff",
            "\uff11\uff12",
            "\u0663",
            "%",
            "..",
            "null",
            "true",
            "[]",
            "{}",
            "'--",
            "<script>",
        ]
    ),
    st.floats().map(str),
    st.integers().map(str),
)
NAMES = st.sampled_from(["dex", "symbol", "limit", "min_profit", "at", "sort_by", "pair", "size", "period", "topics", "x", ""])
PLACES = st.sampled_from(
    ["funding-rates", "funding-rates/compare", "opportunities", "opportunities/best", "edge", "stats/funding-rates/BTC", "health", "stream"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(place=PLACES, given=st.lists(st.tuples(NAMES, ODD), max_size=4), below=st.lists(ODD, max_size=2))
def test_odd_words_anywhere_are_answered_with_a_problem_or_an_answer(
    service: Asking, place: str, given: list[tuple[str, str]], below: list[str]
) -> None:
    def escaped(text: str) -> str:
        return percent(text.encode(errors="surrogatepass"), safe="")

    path = "/".join([place, *map(escaped, below)])
    query = "&".join(f"{name}={escaped(value)}" for name, value in given)
    connection = HTTPConnection(service.url.removeprefix("http://"), timeout=PATIENCE_S)
    try:
        connection.request("GET", f"/api/v1/{path}?{query}")
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    assert answer.status in (200, 404, 414, 422)
    if answer.status != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert body["status"] == answer.status


FRAMES = st.lists(st.one_of(st.text(max_size=200), st.binary(max_size=200), st.sampled_from(["ping", "pong", "x" * 10_000])), max_size=4)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(topics=st.one_of(st.none(), st.just("rates"), st.just("rates,health"), ODD), frames=FRAMES)
def test_whatever_a_reader_of_the_stream_says_it_ends_by_a_code_and_the_place_is_free(
    service: Asking, topics: str | None, frames: list[str | bytes]
) -> None:
    address = service.url.replace("http", "ws") + "/api/v1/stream" + ("" if topics is None else f"?topics={percent(topics, safe='')}")
    if topics is not None and not set(topics.split(",")) <= {"rates", "opportunities", "health"}:
        with pytest.raises(InvalidStatus) as refused, connect(address, open_timeout=PATIENCE_S, proxy=None):
            pass
        assert refused.value.response.status_code == 422
        assert json.loads(refused.value.response.body)["title"]
        return
    with connect(address, open_timeout=PATIENCE_S, close_timeout=2, max_size=None, proxy=None) as socket:
        assert json.loads(socket.recv(timeout=PATIENCE_S))["type"] == "snapshot"
        with suppress(ConnectionClosed):
            for frame in frames:
                if frame == "ping":
                    socket.ping().wait(5)
                elif frame == "pong":
                    socket.pong()
                else:
                    socket.send(frame)
        if any(frame not in ("ping", "pong") for frame in frames):
            with suppress(ConnectionClosed):
                while True:
                    socket.recv(timeout=PATIENCE_S)
            assert socket.close_code in (1008, 1009)  # it spoke, or said too much
