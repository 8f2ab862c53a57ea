"""Core ML: packages of a bundle, run on a Mac."""
