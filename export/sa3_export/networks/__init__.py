"""The networks of Stable Audio 3 small as plain PyTorch modules, named as the checkpoint names its tensors."""
