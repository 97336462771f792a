"""Networks that recall: estimators, denoisers and sequence models, built from a record, kept in one safetensors file.

A network is an ``nn.Module`` with a class attribute ``family`` and keyword arguments that JSON can hold; one row of
catalogue.networks names it. How it is called (shapes in condition.py; all in the network's coordinates, see ``Scale``):

    family      call
    estimate    net(condition) -> [N, ...target]: the posterior mean; a recurrent one also takes steps=K
    denoise     net(x_t, alpha_bar, condition=None, label=None) -> eps, x0 or v, as ``net.predicts`` says
    step        net(x) -> [N, ...item]: the next states; emulator.py
    correct     net(previous, claimed) -> [N, ...item]: the next states, of which an emulator claims the second; the same
    level       net(x) -> logits [N, 1 + K] of how much noise is in each of x [N, ...item]; level.py
    boundary    net(x, pair) -> logits [N, T] of which frame of the windows x [N, F, T] is the boundary between phones of the classes
                pair [N, 2]; boundary.py
    classify    net(x) -> logits [N, K] of the classes of x [N, ...item]; classifier.py
    sequence    net.log_prob(target, condition, order), net.sample(condition, order, generators, temperature)
    frames      net(tokens) -> [N, P, K]: logits of the next frame; frames.py
    translate   net.there(x) -> [..., E], net.back(y) -> [..., D]: vectors of one space as those of another; adapter.py, latent.py
    language    net.rate(windows, noise) -> nats [N, T] of every next token or vector; lm.py, dense.py
    autoencoder net.encode(tokens), net.decode(latents): K tokens as one vector and back; token_ae.py

`denoiser.NetworkDenoiser` makes of a denoising network a denoiser by the project's contract, `emulator.Emulator` and
`emulator.Corrector` of a stepping and a correcting one functions from states to states, `frames.Frames` of one of frames
probabilities and draws of the next, `level.Level` of one that reads levels a function from states to those; `calibration`
has how well it reads.
"""

from ..catalogue.networks import NETWORKS


def build(config: dict):
    """The network that `config` records: {'net': a name of the catalogue, and its keyword arguments}."""
    arguments = dict(config)
    return NETWORKS.load(arguments.pop("net"))(**arguments)
