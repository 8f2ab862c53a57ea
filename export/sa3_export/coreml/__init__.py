"""Graphs as Core ML packages: converted, compressed, and verified on any machine by running what was saved."""

import logging

# Its warnings on import say that this is no Mac and that it knows older PyTorch; what is saved is verified here anyway.
logging.getLogger("coremltools").setLevel(logging.ERROR)
