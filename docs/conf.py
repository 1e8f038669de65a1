"""The documentation's site: ``make docs`` builds it. The pages are also read as they are, where the code is kept."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

project = "edx-event-bus-redis"
author = "the authors of edx-event-bus-redis"
copyright = author  # noqa: A001 -- Sphinx's name
release = re.findall(
    r'^__version__ = "(.+)"$', (DOCS.parent / "edx_event_bus_redis" / "__init__.py").read_text(), re.MULTILINE
)[0]

extensions = ["file_links"]
exclude_patterns = ["_build"]
nitpicky = True

# Literal blocks are shell, output and diagrams, each as it says; what says nothing is left as it is.
highlight_language = "none"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"{project} {release}"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
