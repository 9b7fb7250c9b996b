"""The funding-rate service put together: store, collector, ranking, HTTP and the bots' positions; and a simulated world to show it with."""
