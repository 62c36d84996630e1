"""Stand-ins for the images that `docker-compose.yml` and `deploy/Dockerfile` name, where none can be pulled.

Each carries the same software at the same places under the same name and tag: Kafka's and Apicurio's own
jars, Debian's Python. What is run in them is the shipped compose file and Dockerfile, unchanged.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from lapse.broker import jars
from tests.support.lanes import cache, debian
from tests.support.lanes.debian import Image
from tests.support.lanes.docker_engine import Engine

COMPOSE = cache.REPOSITORY / "docker-compose.yml"
DOCKERFILE = cache.REPOSITORY / "deploy" / "Dockerfile"
JAVA = "/opt/java/openjdk"
PATH: Final = f"{JAVA}/bin:/opt/kafka/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = 1000
LABEL = "lapse.stand-in"


def named(repository: str) -> str:
    """The image of this repository with the tag that the shipped files give it."""
    text = COMPOSE.read_text() + DOCKERFILE.read_text()
    found = re.search(rf"(?:image:|FROM) ({re.escape(repository)}:\S+)", text)
    assert found, f"neither file names {repository}"
    return found.group(1)


def kafka(engine: Engine) -> str:
    """Build the stand-in for Apache Kafka's own image, if it is not there; its name."""
    libs = jars.fetch(jars.default_libs(os.environ))
    settings = {"USER": str(USER), "EXPOSE": "9092", "CMD": '["/etc/kafka/docker/run"]'}
    return _made(engine, named("apache/kafka"), partial(_kafka, libs), settings)


def registry(engine: Engine) -> str:
    """Build the stand-in for Apicurio's own image, if it is not there; its name."""
    image = named("apicurio/apicurio-registry")
    version = image.partition(":")[2]
    app = cache.maven(f"io.apicurio:apicurio-registry-app:{version}:tar.gz:all", f"apicurio-{version}")
    start = f'["java", "-Xmx256m", "-XX:+UseSerialGC", "-jar", "/opt/registry/{_runner(app)}"]'
    return _made(engine, image, partial(_registry, app), {"USER": str(USER), "EXPOSE": "8080", "CMD": start})


def python(engine: Engine) -> str:
    """Build the stand-in for Python's own image, if it is not there; its name.

    Its pip finds the locks' wheels in the image: a build needs no registry, and hashes are checked as ever.
    """
    wheels = cache.wheelhouse()
    return _made(engine, named("python"), partial(_python, wheels), {"CMD": '["python"]'})


def _made(engine: Engine, image: str, fill: Callable[[Image], None], settings: dict[str, str]) -> str:
    if not debian.available():
        pytest.skip("stand-ins for images are made of Debian's packages")
    recipe = Path(__file__).read_bytes() + Path(debian.__file__).read_bytes() + repr(settings).encode()
    key = hashlib.sha256(recipe).hexdigest()[:16]
    inspect = ["docker", "image", "inspect", "-f", f'{{{{index .Config.Labels "{LABEL}"}}}}', image]
    found = subprocess.run(inspect, capture_output=True, text=True, env=engine.environment, check=False)
    if found.stdout.strip() == key:
        return image
    changes = {"ENV": f"PATH={PATH}", "LABEL": f"{LABEL}={key}"} | settings
    command = ["docker", "import", *(w for name, value in changes.items() for w in ("-c", f"{name} {value}"))]
    importing = subprocess.Popen(
        [*command, "-", image], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=engine.environment
    )
    assert importing.stdin
    with importing.stdin:
        layer = Image(importing.stdin)
        fill(layer)
        layer.close()
    assert importing.wait(120) == 0, f"{image} could not be imported"
    return image


def _runner(app: Path) -> str:
    """The name of Apicurio's jar; it was renamed between its lines."""
    (found,) = (*app.glob("*-run.jar"), *app.glob("*-runner.jar"))
    return found.name


def _python(wheels: Path, image: Image) -> None:
    image.packages(["python3", "python3-venv"])
    image.link("/usr/local/bin/python", "/usr/bin/python3")
    image.tree(wheels, "/opt/wheels")
    image.text("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /opt/wheels\n")


def _registry(app: Path, image: Image) -> None:
    image.packages(["zlib1g"])
    image.tree(cache.jvm(), JAVA)
    image.tree(app, "/opt/registry")


def _kafka(libs: Path, image: Image) -> None:
    image.packages(["zlib1g"])
    image.tree(cache.jvm(), JAVA)
    image.folder("/opt/kafka", owner=USER)
    image.folder("/opt/kafka/config", owner=USER)
    image.folder("/opt/kafka/libs", owner=USER)
    for jar in sorted(libs.glob("*.jar")):
        image.copy(jar, f"/opt/kafka/libs/{jar.name}")
    for name, script in _SCRIPTS.items():
        image.text(f"/opt/kafka/bin/{name}", script, mode=0o755)
    for folder in ("/var/lib/kafka/data", "/mnt/shared/config", "/etc/kafka/docker"):
        image.folder(folder, owner=USER)
    for name in ("log4j2.yaml", "tools-log4j2.yaml"):  # the image's set-up copies both
        image.text(f"/etc/kafka/docker/{name}", "status: error\n", owner=USER)
    image.text("/etc/kafka/docker/server.properties", _DEFAULTS, owner=USER)
    image.text("/etc/kafka/docker/run", _RUN, mode=0o755)


_CLASS = """#!/bin/bash
exec java ${KAFKA_HEAP_OPTS:--Xmx512m -Xms256m} ${KAFKA_OPTS:-} -XX:+UseSerialGC \\
  -Dorg.slf4j.simpleLogger.logFile=System.out -cp "/opt/kafka/libs/*" "$@"
"""
_TOOL = '#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh {} "$@"\n'
_SCRIPTS = {
    "kafka-run-class.sh": _CLASS,
    "kafka-server-start.sh": _TOOL.format("kafka.Kafka"),
    "kafka-storage.sh": _TOOL.format("kafka.tools.StorageTool"),
}
# As in Kafka's own image: the variables KAFKA_* become properties, by the same class of Kafka's.
_RUN = """#!/bin/bash
set -euo pipefail
: "${CLUSTER_ID:=5L6g3nShT-eMCtK--X86sw}"; export CLUSTER_ID
/opt/kafka/bin/kafka-run-class.sh kafka.docker.KafkaDockerWrapper setup \\
  --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \\
  --final-configs-dir /opt/kafka/config
exec /opt/kafka/bin/kafka-server-start.sh /opt/kafka/config/server.properties
"""
_DEFAULTS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
advertised.listeners=PLAINTEXT://localhost:9092
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=/tmp/kraft-combined-logs
offsets.topic.replication.factor=1
"""
