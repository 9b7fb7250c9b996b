"""Clients for perpetual-futures venues: one contract, many venues.

`from exchange_clients.lighter import LighterClient`, or `exchange_clients.venues.create_client("lighter", config)`.
"""
