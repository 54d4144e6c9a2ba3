"""Where networks run, and in which precision."""

import torch

from sliderspace.core.errors import BadInput
from sliderspace.core.settings import Precision


def device_for(device: str) -> torch.device:
    """A device by name; `auto` takes a GPU where there is one. Raises BadInput for one that is not here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BadInput("no CUDA GPU is visible here: leave --device out, or use --device cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise BadInput(f"no device '{device}': use auto, cpu, cuda or cuda:1") from error
    if not _is_here(found):
        raise BadInput(f"nothing can be computed on '{device}' here: use auto, cpu, cuda or cuda:1")
    return found


def _is_here(device: torch.device) -> bool:
    """Whether tensors with values can lie there: "meta" and back ends that torch was built without cannot."""
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    try:
        return bool(torch.ones(1, device=device).item())
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        return False


def precision_for(device: torch.device, precision: Precision) -> torch.dtype:
    """The networks' precision; `auto` is bfloat16 where the hardware computes in it. Raises BadInput where bfloat16 is
    asked for and it does not."""
    if precision == "float32":
        return torch.float32
    if computes_bf16(device):
        return torch.bfloat16
    if precision == "bfloat16":  # emulated it is tens of times slower than float32, and no more exact
        raise BadInput(f"this {device.type} has no instructions for bfloat16: use --precision float32, or auto")
    return torch.float32


def computes_bf16(device: torch.device) -> bool:
    """Whether the hardware has instructions for bfloat16: CUDA cards of the last generations, processors with
    AVX512-BF16 or AMX. A card that is not here (one that is only planned for) counts as having them."""
    if device.type == "cuda":
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return (
        torch.backends.mkldnn.is_available()
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and (bool(torch.cpu._is_avx512_bf16_supported()) or bool(torch.cpu._is_amx_tile_supported()))
    )
