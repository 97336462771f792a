"""Networks that recall: estimators, denoisers and sequence models, built from a record, kept in one safetensors file.

A network is an ``nn.Module`` with a class attribute ``family`` and keyword arguments that JSON can hold; one line in
`NETS` names it. What it may be asked (shapes in condition.py; all in the network's coordinates, see ``Scale``):

    family      call
    estimate    net(condition) -> [N, ...target]: the posterior mean; a recurrent one also takes steps=K
    denoise     net(x_t, alpha_bar, condition=None, label=None) -> eps, x0 or v, as ``net.predicts`` says
    sequence    net.log_prob(target, condition, order), net.sample(condition, order, generators, temperature)
    language    net.rate(windows, noise) -> nats [N, T] of every next token or vector; lm.py, dense.py
    autoencoder net.encode(tokens), net.decode(latents): K tokens as one vector and back; token_ae.py

`denoiser.NetworkDenoiser` makes of a denoising network a denoiser by the project's contract.
"""

from importlib import import_module

NETS = {
    "mlp": "mlp.MLP",  # estimate: vectors and small images
    "conv": "conv.Restorer",  # estimate: images of any size, multi-scale
    "flat": "conv.Flat",  # estimate: images of any size, one scale
    "gru": "recurrent.Recurrent",  # estimate: one shared block, iterated
    "transformer": "transformer.Transformer",  # sequence
    "resnet": "diffusion.ResNet",  # denoise
    "unet": "diffusion.UNet",  # denoise
    "mlp-denoiser": "diffusion.Vector",  # denoise: vectors
    "lm": "lm.LM",  # language: text, token by token
    "dense-lm": "dense.DenseLM",  # language: text, K tokens in one vector at a time
    "token-ae": "token_ae.TokenAutoencoder",  # autoencoder
}


def build(config: dict):
    """The network that `config` records: {'net': a key of NETS, and its keyword arguments}."""
    arguments = dict(config)
    module, name = NETS[arguments.pop("net")].split(".")
    return getattr(import_module(f".{module}", __package__), name)(**arguments)
