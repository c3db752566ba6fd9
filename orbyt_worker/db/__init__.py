"""The only room that speaks SQL. `queries.sql` holds every statement the worker says; `queries.py` gives each a typed function."""
