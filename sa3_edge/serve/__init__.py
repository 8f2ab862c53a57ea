"""An HTTP API and a page, on this machine: one warm pipeline behind a queue (extra: serve)."""
