"""Compute what DPO and KTO minimise, from how far the policy's log-probabilities of answers lie above the reference's.

Each is an example's own loss; a step takes their mean. Those of DPO: sigmoid (Rafailov 2023, 2305.18290, eq. 7), with
label smoothing as in cDPO (Mitchell 2023); robust (Chowdhury 2024, 2403.00409, eq. 12); ipo (Azar 2023, 2310.12036,
eq. 17), the log-ratios means over an answer's tokens as its authors have them; hinge (SLiC, Zhao 2023, 2305.10425).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pair_losses(logratios: Tensor, lengths: Tensor, *, loss: str, beta: float, label_smoothing: float) -> Tensor:
    """Return (B,) from the log-ratios and the tokens of the chosen and rejected answers, (B, 2) each."""
    if loss == "ipo":
        means = logratios / lengths.clamp(min=1)  # an answer whose text is no token, and that was cut, has none
        return (means[:, 0] - means[:, 1] - 1 / (2 * beta)) ** 2
    margins = beta * (logratios[:, 0] - logratios[:, 1])
    if loss == "hinge":
        return torch.relu(1 - margins)
    wrong = label_smoothing
    right_part, wrong_part = (1 - wrong) * F.logsigmoid(margins), wrong * F.logsigmoid(-margins)
    if loss == "robust":
        return (wrong_part - right_part) / (1 - 2 * wrong)
    return -right_part - wrong_part


def thumb_losses(logratios: Tensor, ups: Tensor, kl: float, *, beta: float, weights: tuple[float, float]) -> Tensor:
    """Return (B,) of log-ratios (B,) and which have a thumb up (B,); `weights` are those of thumbs up and down.

    `kl`, at least 0, is how far the policy has moved as a whole (Ethayarajh 2024, 2402.01306, eq. 7).
    """
    signs = torch.where(ups, 1.0, -1.0)
    return torch.where(ups, *weights) * (1 - torch.sigmoid(beta * signs * (logratios - kl)))
