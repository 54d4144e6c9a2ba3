"""Sliders by ordinary customisation: slider k learns to draw one picture of its own (DreamBooth's and LoRA's objective,
per slider).

The paper's ablation "no contrastive objective": nothing says that sliders should differ or point anywhere, and many
come out alike.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

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
        chosen = torch.tensor(list(pictures))
        x_KCHW, step = data.x_NTCHW[chosen, -1].float().to(self.backbone.device), data.steps_T[-1:].expand(len(chosen))
        with torch.no_grad():
            rows = self.condition.rows(data.prompt_N[chosen].tolist())
            self.picture_KCHW = self.backbone.predict(x_KCHW, step.to(x_KCHW.device), rows)
        self.prompt_K = data.prompt_N[chosen]
        return self

    def descend(self, data: Trajectories, lanes: Lanes) -> tuple[Tensor, Tensor]:
        table, z = self.backbone.schedule, self.picture_KCHW[lanes.slider_B]
        step_B = data.steps_T[lanes.step_B]
        a, s = (values[step_B].view(-1, 1, 1, 1).to(z) for values in (table.a_T, table.s_T))
        x, step_B = a * z + s * self.backbone.noise(lanes.trajectory_B.tolist()), step_B.to(z.device)
        with self._sliders_on(lanes):
            x0 = self.backbone.predict(x, step_B, self.condition.rows(self.prompt_K[lanes.slider_B].tolist()))
            loss_B = (x0 - z).square().mean((1, 2, 3))
            loss_B.sum().backward()
        return loss_B.detach(), torch.zeros_like(loss_B)
