"""A real schema registry for tests: Apicurio, fetched by Maven once per user, in memory, on a free port."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapse.broker.jars import find_java
from schemas.errors import Unavailable
from tests.support.fetched import cached, must, program

VERSION = "2.6.13.Final"
"""The newest line that runs on Java 17."""
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
API = "/apis/ccompat/v7"


def _runner() -> Path:
    """Return the registry's jar, or skip the test where it cannot be had."""
    return next(cached(f"apicurio-{VERSION}", _unpack).glob("*-runner.jar"))


def _unpack(folder: Path) -> None:
    maven = program("mvn", "fetches the schema registry (Debian: apt install maven)")
    command = [maven, "-q", "-B", UNPACK, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={folder}"]
    command.append(f"-DmarkersDirectory={folder / 'markers'}")  # else it lands in the folder we stand in
    must("the schema registry", command, cwd=folder)


@contextmanager
def running_apicurio(folder: Path) -> Iterator[str]:
    """Run a registry and give the address of its Confluent API; its log lies in `folder`."""
    try:
        java = find_java(os.environ)
    except Unavailable as missing:
        pytest.skip(str(missing))
    jar = _runner()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(port)}
    command = [str(java), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", str(jar)]
    with (folder / "apicurio.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **settings}, stdout=log, stderr=log
        )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}{API}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "the schema registry ended at start; see its log"
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            with connection.getresponse() as answer:
                if answer.status == http.client.OK:
                    return
        except OSError:
            # Not listening yet.
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise AssertionError(f"the schema registry was not ready within {seconds:.0f} s")
