"""Denoisers: to remember is to denoise.

The contract. A denoiser is a callable ``(x_t, alpha_bar) -> E[x_0 | x_t]``, the same shape out as in, for

    x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) n,    n ~ N(0, I).

* ``x_t`` is [N, ...], in the denoiser's own coordinates; its attribute ``scale`` has ``encode`` (signal values to
  coordinates) and ``decode`` (back). Images are 2v - 1 in [-1, 1], others centred or whitened.
* ``alpha_bar`` is float64, one number or one per item; ``1 - alpha_bar`` is never formed in float32.
* ``alpha_bar = 1`` returns ``x_t``; ``alpha_bar = 0`` returns the mean.
* Class label and memory are bound beforehand, so the call keeps two arguments.

Modules (all but moments import torch; this package does not):

    moments    Moments: mean and covariance of what comes in pieces
    contract   Denoiser, Scale, split(alpha_bar)
    store      Store: stored patterns of any size, read in tiles
    memory     Memory: exact softmax over stored patterns (associative recall, modern Hopfield network)
    gaussian   Gaussian: Wiener filter, conditional mean and posterior samples given a fragment
"""
