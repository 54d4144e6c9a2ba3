"""FaceNet: a face -> 512 numbers that say whose it is, and so see features, age and expression more finely than CLIP.

The network is Inception-ResNet v1 with the names of the weights published by facenet-pytorch (MIT), trained on
VGGFace2. They were taught on detected faces that fill the picture. Here the middle of the image is used instead of a
detection: a portrait prompt puts the face there, while a detector's box jumps from image to image and from step to
step, passes no gradient, and finds nothing in the blurred previews of early steps. The encoder cannot tell a face from
anything else: where there is none, or one far off the middle, φ describes what is there, and a discovery spends its
directions on that. Use it for portraits only. The share of the picture that is seen was chosen, not measured.
"""

from sliderspace.models.encoders.facenet.network import InceptionResnetV1
from sliderspace.models.encoders.facenet.weights import (
    MODEL_TYPE,
    SHA256,
    URL,
    convert,
    fetch,
    is_converted,
    load,
    preprocessor,
)

__all__ = [
    "MODEL_TYPE",
    "SHA256",
    "URL",
    "InceptionResnetV1",
    "convert",
    "fetch",
    "is_converted",
    "load",
    "preprocessor",
]
