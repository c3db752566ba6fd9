"""What the worker answers over HTTP: probes, the callback of a login, Meta's callbacks, Mux' webhook.

The doors only: each reads a request that anybody may have sent, proves it, says one sentence to the database and answers. No
decision about accounts or jobs is made here, nothing here calls a platform, and no token passes through.
"""
