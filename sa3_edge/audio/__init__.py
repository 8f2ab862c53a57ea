"""Recordings in, sound files out. Knows no bundle."""
