"""LoRA adapters: read, and merged into weights, when a model is exported or while it runs."""
