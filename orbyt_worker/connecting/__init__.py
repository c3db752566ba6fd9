"""Accounts, from the button to a working connection, and what keeps it working: one session, one check, one revocation at a time.

Knows no particular platform, decides nothing that the database or the catalog decides, and never exchanges a code twice.
"""
