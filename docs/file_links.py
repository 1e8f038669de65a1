"""
Links between pages, as files: ```Least rights <../acl.rst>`__``.

Written like that a page can be read, and its links followed, where the code is kept as well as on the site. Here they
become links to the site's pages, and links to other files of the repository become downloads. One that leads nowhere is
a warning.
"""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils import get_source_line
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


class FindFiles(SphinxTransform):
    """Finds what links lead to while pages are read."""

    default_priority = 600

    def apply(self, **_: Any) -> None:
        """Have each link to a page name it, and make downloads of those to other files."""
        for link in list(self.document.findall(nodes.reference)):
            address, _, part = link.get("refuri", "").partition("#")
            if not address or ":" in address:
                continue
            file = (Path(get_source_line(link)[0]).parent / address).resolve()
            # A directory, such as that of the decisions, has a page of its name.
            docname = self.env.path2doc(file.with_suffix(".rst") if file.is_dir() else file)
            if docname in self.env.found_docs:
                link["page"], link["part"] = docname, part
            elif file.is_file():
                target = os.path.relpath(file, Path(self.env.doc2path(self.env.docname)).parent)
                download = addnodes.download_reference(
                    "", "", *link.children, reftarget=target, refdoc=self.env.docname
                )
                link.replace_self(download)
            else:
                logger.warning("there is no file %s", address, location=link, type="file_links")


class LinkPages(SphinxPostTransform):
    """Links the pages once all are read."""

    default_priority = 20

    def run(self, **_: Any) -> None:
        """Give each link to a page its address on the site."""
        for link in self.document.findall(nodes.reference):
            page = link.get("page")
            if page is None:
                continue
            part = link["part"]
            link["internal"] = True
            link["refuri"] = self.app.builder.get_relative_uri(self.env.docname, page)
            if part:
                link["refuri"] += f"#{part}"
                if part not in self.env.get_doctree(page).ids:
                    logger.warning("page %s has no part %s", page, part, location=link, type="file_links")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add both to a site."""
    app.add_transform(FindFiles)
    app.add_post_transform(LinkPages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
