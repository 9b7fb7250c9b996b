"""Prometheus figures. Labels are bounded: routes by their template, venues by the registry, tasks by their list."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.types import Scope

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


class Metrics:
    """The figures of one service; a registry of its own, so that two in a process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter("perpkit_http_requests", "Requests answered.", ("route", "method", "status"), registry=self.registry)
        self._seconds = Histogram(
            "perpkit_http_request_seconds",
            "Time to answer.",
            ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=self.registry,
        )
        self.markets = Gauge("perpkit_markets", "Markets with a rate.", ("dex",), registry=self.registry)
        self.fresh = Gauge("perpkit_dex_up", "1: the venue's rates are fresh.", ("dex",), registry=self.registry)
        self.age = Gauge("perpkit_dex_age_seconds", "Since the venue's last good answer.", ("dex",), registry=self.registry)
        self.failures = Gauge(
            "perpkit_dex_consecutive_failures", "Failed rounds since the last good one.", ("dex",), registry=self.registry
        )
        self.generation = Gauge("perpkit_board_generation", "Changes of the board.", registry=self.registry)
        self.opportunities = Gauge("perpkit_opportunities", "Pairs that pass the default filters.", registry=self.registry)
        self.subscribers = Gauge("perpkit_stream_subscribers", "Open streams.", registry=self.registry)
        self.sent = Gauge("perpkit_stream_messages", "Messages made for the stream.", registry=self.registry)
        self.missed = Gauge("perpkit_stream_missed_messages", "Messages that slow readers got as newest state.", registry=self.registry)
        self.task_failures = Gauge("perpkit_task_failures", "Failed turns of a task.", ("task",), registry=self.registry)
        self.database = Gauge("perpkit_database_up", "1: the database answers.", registry=self.registry)

    def request(self, scope: Scope, status: int, seconds: float) -> None:
        """One request is over; status 0: it was broken off."""
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope.get("method", "WS")
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        if scope["type"] == "http":
            self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self.registry)
