"""A clip as people know it: its options, its file, and the record inside it."""
