"""Brackets, OCO, trailing stops and icebergs where a venue has none of its own, safe over crashes."""

from .base import Watch
from .emulator import Emulator
from .runner import EmulatedOrder

__all__ = ["EmulatedOrder", "Emulator", "Watch"]
