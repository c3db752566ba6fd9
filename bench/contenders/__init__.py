"""One program per queue, all speaking the same few words (`talk.py`), so that they are measured in the same way.

Each does what its documentation recommends for throughput and latency, eight jobs at a time, one process.
"""
