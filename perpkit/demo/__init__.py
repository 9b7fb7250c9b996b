"""The demo: the funding-arbitrage strategy end to end on two simulated venues that speak the real wire protocols.

scene.py builds the world (venues, clients, engine, strategy), show.py runs it and moves the clock, view.py shows it, report.py sums it up.
"""

from perpkit.demo.report import DemoReport
from perpkit.demo.show import DemoOptions, run_demo

__all__ = ["DemoOptions", "DemoReport", "run_demo"]
