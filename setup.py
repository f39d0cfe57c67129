"""
Packaging. The tree is at once a file_roots/gitfs tree (``_modules``, ``_states``, ``_runners``,
``orchestrate``) and a Salt extension: the mapping below installs the same folders as
``saltext.mitx``, found by Salt through the ``salt.loader`` entry point.
"""

import pathlib

from setuptools import setup

HERE = pathlib.Path(__file__).parent
# boto3 and jinja2 are the package's own; salt brings pyyaml and jinja2 along, they are named
# because we use them.
REQUIRES = [
    "salt>=3006,<3009",
    "boto3",
    "dnspython",
    "icalendar",
    "jinja2",
    "pyyaml",
    "rich",
    "urllib3",
]
SANDBOX = ["moto[server]>=5.2", "supervisor>=4.2", "trustme"]
TESTS = [
    *SANDBOX,
    "pytest>=8",
    "pytest-salt-factories>=1.0.5",
    "pytest-timeout",
    "pytest-xdist",
    "aiosmtpd",
    "axe-playwright-python",
    # A real gitfs; what MITx's master uses for it.
    "gitpython",
    # tests/integration/test_real_database.py: what Open edX runs on, as far as migrations go.
    "django>=4.2,<5",
    "pymysql",
    "hypothesis",
    "kombu",
    # The other side of benchmarks/elb_swap.py; it stops at Python 3.11.
    'boto>=2.49; python_version < "3.12"',
    "import-linter>=2.17",
    "ruff==0.17.6",
    "setuptools>=64",
    "wheel",
]
# `make docs`
DOCS = ["furo", "myst-parser", "sphinx"]
# `make bench`: the plot.
BENCH = ["matplotlib"]


def orchestrations():
    """The packages below which SLS files and templates lie: one for each folder."""
    folders = [
        HERE / "orchestrate",
        *(path for path in (HERE / "orchestrate").rglob("*") if path.is_dir()),
    ]
    names = {
        ".".join(folder.relative_to(HERE).parts): str(folder.relative_to(HERE))
        for folder in folders
        if folder.name != "__pycache__"
    }
    return {f"saltext.mitx.file_root.{name}": folder for name, folder in names.items()}


def rooms():
    """
    The packages below ``_modules``, one for each room: beside each other, as in a synced tree.
    """
    return {
        f"saltext.mitx.modules.{path.parent.name}": f"_modules/{path.parent.name}"
        for path in HERE.glob("_modules/*/__init__.py")
    }


def main():
    packages = {
        "saltext.mitx.modules": "_modules",
        **rooms(),
        "saltext.mitx.states": "_states",
        "saltext.mitx.runners": "_runners",
        **orchestrations(),
    }
    setup(
        name="saltext-mitx",
        version="1.0.0",
        description=(
            "Upgrade MITx Residential (Open edX at MIT) with Salt, in its announced window, with"
            " nothing lost"
        ),
        long_description=(HERE / "README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        license="BSD-3-Clause",
        python_requires=">=3.10",
        packages=list(packages),
        package_dir=packages,
        package_data={name: ["*.sls", "*.jinja"] for name in packages},
        install_requires=REQUIRES,
        extras_require={"sandbox": SANDBOX, "tests": TESTS, "docs": DOCS, "bench": BENCH},
        entry_points={"salt.loader": ["saltext.mitx = saltext.mitx.runners:loader_dirs"]},
        zip_safe=False,
    )


if __name__ == "__main__":
    main()
