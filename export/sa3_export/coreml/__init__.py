"""Graphs as Core ML packages: converted, compressed, and verified on any machine by running what was saved."""

from sa3_export.quiet import quiet

# Its warnings on import say that this is no Mac and that it knows older PyTorch; what is saved is verified here anyway.
with quiet("coremltools"):
    import coremltools  # noqa: F401
