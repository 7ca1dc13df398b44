"""A broker and a database for one measurement, in a temporary folder, gone when it ends."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("FRESHET_CACHE", pathlib.Path.home() / ".cache/freshet"))
KAFKA_JARS = CACHE / "kafka-4.1.0"
SPARK = CACHE / "spark"


def prepare(spark: bool) -> None:
    """Fetches what a measurement needs and the cache does not hold yet."""
    if not (KAFKA_JARS / "complete").exists():
        copy_jars(ROOT / "harness/src/kafka/pom.xml", KAFKA_JARS)
    if spark and not (SPARK / "complete").exists():
        copy_jars(ROOT / "benches/versus/pom.xml", SPARK / "jars")
        subprocess.run(["python3", "-m", "venv", SPARK / "venv"], check=True)
        requirements = ROOT / "benches/versus/requirements.txt"
        subprocess.run([SPARK / "venv/bin/pip", "install", "-q", "-r", requirements], check=True)
        (SPARK / "complete").touch()


def copy_jars(pom: pathlib.Path, folder: pathlib.Path) -> None:
    """Lets Maven copy a project's dependencies into a folder."""
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    subprocess.run(["mvn", "-q", "-B", "-f", pom, *goal], check=True)
    if folder == KAFKA_JARS:
        (folder / "complete").touch()


def free_port() -> int:
    """Finds a loopback port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(ready, what: str, seconds: float = 60.0) -> None:
    """Waits for a condition, or fails with the name of what did not come."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not become ready within {seconds:.0f} s")
        time.sleep(0.05)


def quiet(command, **options) -> bool:
    """Tells whether a command succeeds."""
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **options).returncode == 0


class Kafka:
    """A broker in KRaft mode with 1 GB of heap."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.port, controller = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        config = folder / "server.properties"
        config.write_text(
            f"""process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{self.address}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
"""
        )
        uuid = subprocess.run(self.tool("kafka.tools.StorageTool", "random-uuid"), check=True, capture_output=True, text=True)
        format_command = self.tool("kafka.tools.StorageTool", "format", "-t", uuid.stdout.strip(), "-c", config)
        subprocess.run(format_command, check=True, capture_output=True)
        self.log = open(folder / "kafka.log", "wb")
        command = ["java", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-cp", f"{KAFKA_JARS}/*", "kafka.Kafka", config]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT)
        self.ready()

    def tool(self, name: str, *arguments) -> list:
        """Returns the command line of one of Kafka's tools."""
        return ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{KAFKA_JARS}/*", name, *map(str, arguments)]

    def ready(self) -> None:
        """Waits until the broker answers a request."""

        def connects() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_until(connects, "the broker's port")
        listing = self.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", self.address, "--list")
        wait_until(lambda: quiet(listing), "the broker")

    def create(self, topic: str, partitions: int = 4) -> None:
        """Creates a topic."""
        options = ["--bootstrap-server", self.address, "--create", "--topic", topic, "--partitions", partitions, "--replication-factor", 1]
        subprocess.run(self.tool("org.apache.kafka.tools.TopicCommand", *options), check=True, capture_output=True)

    def stop(self) -> None:
        """Ends the broker."""
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Postgres:
    """A throw-away cluster with the server's default durability."""

    def __init__(self, folder: pathlib.Path):
        binaries = subprocess.run(["pg_config", "--bindir"], check=True, capture_output=True, text=True).stdout.strip()
        self.port = free_port()
        owner = []
        folder.mkdir()
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
            owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        data = folder / "data"
        initdb = [f"{binaries}/initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D", data]
        subprocess.run([*owner, *initdb], check=True, capture_output=True, cwd=folder)
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"]
        server = [f"{binaries}/postgres", "-D", data, "-p", str(self.port), "-k", folder, *settings]
        self.process = subprocess.Popen([*owner, *server], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
        wait_until(lambda: quiet(["psql", "-c", "SELECT 1", self.url("postgres")]), "PostgreSQL")

    def url(self, database: str) -> str:
        """Returns the URL of a database."""
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def jdbc(self, database: str) -> str:
        """Returns the same for Java."""
        return f"jdbc:postgresql://127.0.0.1:{self.port}/{database}?user=postgres"

    def create(self, database: str, script: str = "") -> None:
        """Creates a database and runs a script in it."""
        for target, sql in [("postgres", f"CREATE DATABASE {database}"), (database, script)]:
            subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, self.url(target)], check=True)

    def stop(self) -> None:
        """Ends the server at once."""
        self.process.send_signal(3)
        self.process.wait()


class Session:
    """A connection that costs less than a millisecond a question: one psql, kept open."""

    def __init__(self, url: str):
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=0", url]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)

    def ask(self, query: str) -> list[str]:
        """Returns the rows of a query, none if it fails."""
        self.process.stdin.write(f"{query};\n\\echo ---\n")
        self.process.stdin.flush()
        rows = []
        while (line := self.process.stdout.readline().rstrip("\n")) != "---":
            if self.process.poll() is not None:
                raise SystemExit("psql has ended")
            rows.append(line)
        return rows

    def close(self) -> None:
        """Closes the connection."""
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def servers(spark: bool = True):
    """Gives a broker and a database, and ends both whatever happens; sees to it that Spark is there, if it takes part."""
    prepare(spark)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="freshet-versus-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "kafka").mkdir()
        kafka = Kafka(folder / "kafka")
        stack.callback(kafka.stop)
        database = Postgres(folder / "postgres")
        stack.callback(database.stop)
        yield kafka, database, folder
