"""Loading without the bars and reports of diffusers and transformers: our own progress lines say what is going on."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Generator[None]:
    """Within the block (or the function it decorates) the two libraries report errors only; afterwards as before."""
    from diffusers.utils import logging as diffusers_logging
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(logging, logging.get_verbosity(), logging.is_progress_bar_enabled()) for logging in libraries]
    downloads_were_silent = are_progress_bars_disabled()
    for logging in libraries:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):  # that an environment variable keeps bars off
            for logging, verbosity, bars in before:
                logging.set_verbosity(verbosity)
                if bars:
                    logging.enable_progress_bar()
            if downloads_were_silent:  # transformers switches those of the Hub's client with its own
                disable_progress_bars()
