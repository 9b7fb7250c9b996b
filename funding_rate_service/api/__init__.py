"""The service over HTTP and WebSocket: answers from memory and from the store, as problem+json when there is none."""
