import sys

from sliderspace.cli import main

sys.exit(main())
