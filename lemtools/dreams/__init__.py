"""What is asked of the machines of `els`: samples, single steps, calibration against a network, comparison, origins."""
