"""Vector quantisers: residual codebooks (fit, search, bound, report) and the encoder of trellis codes on a device."""
