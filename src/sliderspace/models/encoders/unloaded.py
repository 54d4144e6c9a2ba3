"""What is known of an encoder before its weights are read, or fetched."""

from sliderspace.core.errors import BadInput
from sliderspace.models.configs import configs_of
from sliderspace.models.encoders import facenet, pixels
from sliderspace.models.encoders.catalogue import ENCODERS, check_there, find_encoder, read_folder
from sliderspace.models.identity import identity_of, source_identity
from sliderspace.models.sources import is_repo, resolve


def check_encoder(location: str) -> None:
    """Raises BadInput for an encoder that is not there, or of no kind known here."""
    check_there(location)
    remote = is_repo(location) or location in ENCODERS
    if not remote and resolve(location).is_file():  # of FaceNet's weights, read when they are converted
        return
    folder = configs_of(location)
    config, _ = read_folder(folder)
    if not remote and config["model_type"] != pixels.MODEL_TYPE and not any(folder.glob("*.safetensors")):
        raise BadInput(f"the encoder in {folder} has no weights: there is no .safetensors file beside its config.json")


def encoder_identity(location: str) -> str:
    """What tells these weights and their preprocessing from others: fixed for a short name, else found on the Hub or
    this disk."""
    if location == "facenet":
        return f"facenet@{facenet.SHA256[:12]}"
    if location in ENCODERS:
        return source_identity(f"{ENCODERS[location].source}@{ENCODERS[location].revision}")
    return source_identity(location) if is_repo(location) else identity_of(find_encoder(location))
