"""What is compiled; everything else stands in pyproject.toml, whose own word for this is experimental.

It needs a C compiler and Python's headers, nothing of OpenSSL's. Without them the install goes on without it.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "vault._columns",
            ["vault/_columns.c"],
            extra_compile_args=["-O2", "-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter"],
            optional=True,
        )
    ]
)
