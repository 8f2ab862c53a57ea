"""What can go wrong with a checkpoint or an export, in words for the person who started it."""


class CheckpointError(ValueError):
    """The checkpoint is not one that we can compute: missing, misshapen or unsupported parts, named."""


class ParityError(RuntimeError):
    """An exported graph does not compute what PyTorch computes; nothing of it is kept."""
