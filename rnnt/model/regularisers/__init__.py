"""What shapes the gradient of a training without being a loss: balancers, whitening, limits, schedules, dropout.

None of them changes what a network computes in evaluation. Source: Yao et al. 2023, https://arxiv.org/abs/2310.11230,
and icefall's zipformer recipe, whose numbers they reproduce.
"""
