"""What was seen of a run: its directions in the previews of its trajectories, and its sweeps in two encoders' eyes."""

from collections.abc import Sequence

import numpy as np

from sliderspace.engine.models import Models
from sliderspace.measure.protocols.observability import observability_of
from sliderspace.measure.protocols.records import Observability
from sliderspace.measure.views import View, judges_view, training_view
from sliderspace.method.sweeps import Seen, Sweep


def observability(models: Models) -> Observability | None:
    """How the directions show in the previews of the trajectories they were found in; None of finished images alone."""
    steps, v_KD = models.point.embed_T, models.directions.components_KD
    if len(steps) < 2:
        return None
    z_NTD = models.seen.z_NTD
    projection_NTK = np.stack([z_NTD[:, t].double().numpy() @ v_KD.T for t in range(len(steps))], axis=1)
    return observability_of(projection_NTK, tuple(steps))


def views(models: Models, found: Sequence[Sweep], by_judge: Seen | None, judge: str) -> tuple[View, View | None]:
    """What the encoder, and the judge of the identity `judge`, see in sweeps, beside the finished images of the
    trajectories. Where a person's pictures are fewer than the trajectories, these stand several times among them."""
    manifold_ND, fresh_ND = (data.z_NTD[:, -1].double().numpy() for data in (models.seen, models.unseen))
    repeated = models.pictures is not None and len(models.pictures) < len(models.trajectories)
    trained = training_view(found, models.measuring.sizes, manifold_ND, fresh_ND, models.directions, repeated=repeated)
    if by_judge is None:
        return trained, None
    z_NE, samples = by_judge["judge"].numpy(), models.settings.samples
    return trained, judges_view(found, trained, judge, z_NE[:samples], z_NE[samples:])
