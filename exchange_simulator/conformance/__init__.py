"""The suite every venue must pass, ours and a third party's alike.

    pytest --pyargs exchange_simulator.conformance            all registered venues
    pytest --pyargs exchange_simulator.conformance -k toy     one of them

It runs the client that is registered under `exchange_clients.venues` against the dialect registered under
`exchange_simulator.dialects`, nearly always on virtual time (`virtual`), where a minute of silence takes milliseconds and everything that a
client leaves behind is found; figures that only sockets can prove run on loopback (`loopback`). What a venue cannot do is skipped by its
own capabilities, and the skip says so.

The modules, in the order in which a new venue meets them: `test_funding`; `test_requests`; `test_streams`; `test_client`, `test_orders`,
`test_outcomes`, `test_account`.
"""
