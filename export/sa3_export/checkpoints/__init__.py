"""Where weights come from: published checkpoints, adapters, random numbers."""
