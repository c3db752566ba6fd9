"""The outside world on loopback: Google OAuth, YouTube, Meta, Mux and media hosts as strict, stateful simulators over real HTTP.

For our tests, for the demo, and for the app developer who wants to build against Orbyt without platform credentials.
This room knows nothing of the worker's platform code, on purpose: a misunderstanding shared by both would stay hidden.
It is never started with ORBYT_ENVIRONMENT=production and binds to loopback only.

`server.SandboxServer` runs everything under one port; `state.Sandbox` is the state behind it, for use in the same process.
"""
