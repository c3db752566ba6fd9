"""Keeps jobs moving: claims them, runs them within the slots, renews the lease, tidies up. Knows no platform."""
