"""Orbyt: from a row in Postgres to a published post."""
