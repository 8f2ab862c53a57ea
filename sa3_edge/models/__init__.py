"""Models by name: what is published, what is installed, and how it gets here."""
