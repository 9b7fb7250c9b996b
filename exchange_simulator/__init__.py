"""A deterministic perpetual-futures exchange, and venue dialects that speak real wire protocols on top of it."""
