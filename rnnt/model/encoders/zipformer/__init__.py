"""The Zipformer (Yao et al. 2023, https://arxiv.org/abs/2310.11230) as icefall has it, with the same names of tensors.

Below `embed` and the rest of the encoder a parameter is called as in icefall below `encoder_embed` and `encoder`.
"""
