"""One folder per platform. A platform sees its own folder, `graph_api`, `http` and `base`; never the database."""
