"""The bytes of a post: found, checked, downloaded once, handed out while they still arrive. Knows no platform, no database."""
