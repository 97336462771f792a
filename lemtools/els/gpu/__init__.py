"""The sums of the local machines in Triton. `fused` is called by `posterior`, and `usable` says where it can be."""
