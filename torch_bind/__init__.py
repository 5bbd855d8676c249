"""The rules as torch.optim.Optimizer classes."""
