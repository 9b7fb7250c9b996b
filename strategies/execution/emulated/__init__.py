"""Brackets, OCO, trailing stops and icebergs where a venue has none of its own, safe over crashes."""

from .base import Watch
from .runner import EmulatedOrder, Emulator

__all__ = ["EmulatedOrder", "Emulator", "Watch"]
