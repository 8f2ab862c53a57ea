"""Graphs as Core ML packages: converted, compressed, and proved on any machine by evaluating what was saved."""
