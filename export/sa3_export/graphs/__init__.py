"""The five graphs of a bundle, whatever format they are written in."""
