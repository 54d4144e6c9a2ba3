"""Sliders by ordinary customisation: slider k learns to draw one picture of its own (DreamBooth's and LoRA's objective,
per slider).

The paper's ablation "no contrastive objective": nothing says that sliders should differ or point anywhere, and many
come out alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sliderspace.method.denoise import predict
from sliderspace.method.objective import Lanes, Objective
from sliderspace.method.trajectories import Trajectories


class Customisation(Objective):
    """Lanes -> ‖x̃₀ − picture‖², mean over the latent's values, at the picture noised as at the lane's step; strength 1
    only.

    `pictures` are the trajectories whose finished images sliders 0 … K−1 learn. The alignment logged is that of
    `Objective`.
    """

    def of(self, data: Trajectories, pictures: Sequence[int]) -> "Customisation":
        """Choose the pictures. At the last step the preview is the image, so its latents are what the model predicts
        there."""
        chosen = torch.tensor([pictures[k] for k in self.bank.indices])
        x_KCHW = data.x(chosen, torch.full_like(chosen, len(data.steps_T) - 1)).to(self.backbone.device)
        with torch.no_grad():
            shown = self.condition.rows(data.prompt_N[chosen].tolist())
            self.picture_KCHW = predict(self.backbone, shown, x_KCHW, int(data.steps_T[-1]))
        self.prompt_K = data.prompt_N[chosen]
        return self

    def descend(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        table = self.backbone.schedule
        z = self.picture_KCHW[lanes.slider_B]
        step_B = data.steps_T[lanes.step_B]
        a, s = (values[step_B].view(-1, 1, 1, 1).to(z) for values in (table.a_T, table.s_T))
        x = a * z + s * self.backbone.noise(lanes.trajectory_B.tolist())
        with self.sliders_on(lanes):
            x0 = self.guess(self.condition.rows(self.prompt_K[lanes.slider_B].tolist()), x, step_B)
            loss_B = (x0 - z).square().mean((1, 2, 3))
            loss_B.sum().backward()
        return loss_B.detach(), torch.zeros_like(loss_B)
