"""A private PostgreSQL, memcached, nginx and the workers, all in one directory: what `make run` and the tests start.

Every program runs in that directory and dies with us: by stop(), by the kernel's parent-death signal when we are
killed, or, for workers (which spawn-fcgi hands to the system), by stop_leftovers() of the next start.
"""
import contextlib
import ctypes
import fcntl
import glob
import http.client
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = {"postgres", "memcached", "nginx", "lighttpd", "users-api"}
SOCKET_PATH_MAX = 107  # sun_path of unix(7), without its NUL
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """What went wrong, in one line."""


def wait_for(condition, seconds, what):
    """The first true value of condition()."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.02)


ports_given = set()


def free_port():
    """Of 127.0.0.1; none twice, since who got one may not have opened it yet."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        if port not in ports_given:
            ports_given.add(port)
            return port


def accepts(family, address):
    with socket.socket(family) as s:
        return s.connect_ex(address) == 0


def base_environment():
    """Ours, without what would configure a worker or libpq."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("HOB_", "PG")) and k != "DATABASE_URL"}


# ---- Directory ----


class Place:
    """The directory of one stack. Sockets lie in it too, or, where its path is too long for them, in one below /tmp
    that the link `sockets` leads to."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.lock = open(self.path / "lock", "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(f"something else is running in {self.path}") from None
        stop_leftovers(self.path)
        self._remove_sockets()
        self.sockets = self.path / "sockets"
        longest = self.sockets / "postgresql" / ".s.PGSQL.5432"
        if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
            link, self.sockets = self.sockets, pathlib.Path(tempfile.mkdtemp(prefix="users-api-", dir="/tmp"))
            link.symlink_to(self.sockets)
        self.sockets.mkdir(exist_ok=True)

    def _remove_sockets(self):
        link = self.path / "sockets"
        if link.is_symlink():
            shutil.rmtree(os.readlink(link), ignore_errors=True)
            link.unlink()
        shutil.rmtree(link, ignore_errors=True)

    def close(self):
        self._remove_sockets()
        self.lock.close()


@contextlib.contextmanager
def acting_as(account):
    """root may not look at another account's processes everywhere (no CAP_SYS_PTRACE in a container)."""
    gid, uid = os.getegid(), os.geteuid()
    if account:
        os.setegid(account[1])
        os.seteuid(account[0])
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)


def unprivileged(data):
    """Uid and gid PostgreSQL runs as, since it refuses to run as root: its data's owner. None: our own."""
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)[2:4]
    raise Failure("PostgreSQL does not run as root, and there is neither an account postgres nor nobody")


def leftovers(directory):
    """Processes of an earlier stack of this directory: our programs, running in it."""
    found = set()
    for account in {None, unprivileged(directory / "postgresql")}:
        with acting_as(account):
            for process in glob.glob("/proc/[0-9]*"):
                with contextlib.suppress(OSError):
                    program = os.path.basename(os.readlink(process + "/exe")).removesuffix(" (deleted)")
                    where = pathlib.Path(os.readlink(process + "/cwd"))
                    if program in PROGRAMS and where.is_relative_to(directory) and not is_zombie(process):
                        found.add(int(os.path.basename(process)))
    return found


def is_zombie(process):
    return pathlib.Path(process, "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def stop_leftovers(directory):
    """SIGINT is a quick and orderly end for each of them, but in a PostgreSQL session whose server is gone it only
    cancels a query."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for pid in leftovers(directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        with contextlib.suppress(Failure):
            wait_for(lambda: not leftovers(directory), 5, "leftovers")
            return


# ---- Processes ----


class Daemon:
    name = "?"
    stop_signal = signal.SIGTERM

    def __init__(self, place):
        self.place = place
        self.log_path = place.path / f"{self.name}.log"
        self.process = None

    def spawn(self, argv, **options):
        """Starts a child that is stopped when we die, and that a Ctrl-C at our terminal does not reach."""

        def die_with_us():
            libc.prctl(PR_SET_PDEATHSIG, self.stop_signal)

        options = {"cwd": self.place.path, "env": base_environment(), "stdin": subprocess.DEVNULL} | options
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([os.fspath(a) for a in argv], stdout=log, stderr=log,
                                            start_new_session=True, preexec_fn=die_with_us, **options)

    def wait_ready(self, ready, seconds=20):
        def ready_or_dead():
            return ready() or not self.alive()

        wait_for(ready_or_dead, seconds, self.name)
        if not self.alive():
            raise Failure(f"{self.name} did not start: {self.last_line()} ({self.log_path})")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def last_line(self):
        return (self.log().strip().splitlines() or ["it said nothing"])[-1]

    def stop(self):
        if self.process is None:
            return
        for sig, seconds in ((self.stop_signal, 10), (signal.SIGKILL, None)):
            self.process.send_signal(sig)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                break
        self.process = None


@contextlib.contextmanager
def running(service):
    """Stopped behind, also when it did not start."""
    try:
        service.start()
        yield service
    finally:
        service.stop()


class Postgres(Daemon):
    """PostgreSQL on a unix socket. Its directories are handed to it as open file descriptors: the account it runs as
    may not be able to walk to them."""

    name = "postgresql"
    stop_signal = signal.SIGINT  # its "fast" shutdown
    role = database = "users_api"

    def __init__(self, place, settings=(), name=name):
        self.name = name
        super().__init__(place)
        self.data = place.path / name
        self.account = unprivileged(self.data)
        self.programs = self._find_programs()
        self.socket_directory = place.sockets / name
        self.settings = settings

    @staticmethod
    def _find_programs():
        versions = glob.glob("/usr/lib/postgresql/*/bin/postgres")
        if versions:
            return pathlib.Path(max(versions, key=lambda path: int(path.split("/")[4]))).parent
        found = shutil.which("postgres")
        if not found:
            raise Failure("PostgreSQL is not installed: make deps")
        return pathlib.Path(found).resolve().parent

    @property
    def url(self):
        host = urllib.parse.quote(str(self.socket_directory), safe="")
        return f"postgresql://{self.role}@/{self.database}?host={host}"

    @contextlib.contextmanager
    def _opened(self, *directories):
        """Popen's options for a program that gets these directories, and their names in it."""
        fds = [os.open(d, os.O_RDONLY | os.O_DIRECTORY) for d in directories]
        options = {"pass_fds": fds, "cwd": "/", "env": base_environment() | {"LC_ALL": "C.UTF-8"}}
        if self.account:
            options |= {"user": self.account[0], "group": self.account[1], "extra_groups": []}
        try:
            yield options, [f"/proc/self/fd/{fd}" for fd in fds]
        finally:
            for fd in fds:
                os.close(fd)

    def _own_directory(self, path):
        path.mkdir(mode=0o700, exist_ok=True)
        if self.account:
            os.chown(path, *self.account)

    def _create(self):
        """Under another name until it is complete: we may be killed meanwhile."""
        unfinished = self.data.with_name(f"{self.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._own_directory(unfinished)
        with self._opened(unfinished) as (options, (data,)), open(self.log_path, "ab") as log:
            steps = (
                (["initdb", "-D", data, "-U", self.role, "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8"], ""),
                (["postgres", "--single", "-D", data, "postgres"], f"CREATE DATABASE {self.database};\n"),
            )
            for (program, *arguments), text in steps:
                done = subprocess.run([self.programs / program, *arguments], input=text.encode(), stdout=log,
                                      stderr=log, start_new_session=True, **options)
                if done.returncode:
                    raise Failure(f"{program} failed: {self.last_line()} ({self.log_path})")
        unfinished.rename(self.data)

    def start(self):
        if not self.data.exists():
            self._create()
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # its server is gone: Place saw to that
        self._own_directory(self.socket_directory)
        settings = {"listen_addresses": "", "max_connections": "200", **dict(self.settings)}
        with self._opened(self.data, self.socket_directory) as (options, (data, sockets)):
            settings["unix_socket_directories"] = sockets
            flags = [f"--{name}={value}" for name, value in settings.items()]
            self.spawn([self.programs / "postgres", "-D", data, *flags], **options)
        ready = [self.programs / "pg_isready", "-q", "-U", self.role, "-h", self.socket_directory]
        self.wait_ready(lambda: subprocess.run(ready).returncode == 0)

    def psql(self, *arguments):
        done = subprocess.run([self.programs / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url, *arguments],
                              env=base_environment(), capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()


class Memcached(Daemon):
    name = "memcached"
    stop_signal = signal.SIGKILL  # it has nothing to lose, and takes a second over SIGTERM

    def __init__(self, place, name=name):
        self.name = name
        super().__init__(place)
        self.socket_path = place.sockets / f"{name}.sock"

    def start(self):
        as_root = ["-u", "root"] if os.geteuid() == 0 else []
        self.spawn(["memcached", "-s", self.socket_path, "-a", "0700", "-m", "64", *as_root])
        self.wait_ready(lambda: accepts(socket.AF_UNIX, str(self.socket_path)))


class Workers(Daemon):
    """As in production: spawn-fcgi binds the socket and starts `count` workers that share it."""

    name = "worker"

    def __init__(self, place, binary, count, environment, name=name):
        self.name = name
        super().__init__(place)
        self.binary, self.count = binary, count
        self.environment = base_environment() | {"HOB_LOG": str(self.log_path)} | environment
        self.socket_path = place.sockets / f"{name}.sock"
        self.pids, self.statuses = [], {}

    def start(self):
        checked = subprocess.run([self.binary, "--print-config"], env=self.environment, capture_output=True, text=True)
        if checked.returncode:
            raise Failure(checked.stderr.strip())
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # spawn-fcgi ends, and its workers become our children
        pid_file = self.place.path / f"{self.name}.pid"
        self.spawn(["spawn-fcgi", "-s", self.socket_path, "-M", "0600", "-P", pid_file, "-F", str(self.count), "--",
                    self.binary], env=self.environment)
        if self.process.wait(30) or not pid_file.exists():
            raise Failure(f"spawn-fcgi: {self.last_line()} ({self.log_path})")
        self.pids = [int(pid) for pid in pid_file.read_text().split()]
        self.process = None

    def alive(self):
        """Pids of those that run; the others' wait statuses are kept."""
        for pid in self.pids:
            if pid not in self.statuses:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self.statuses[pid] = status
        return [pid for pid in self.pids if pid not in self.statuses]

    def stop(self):
        super().stop()
        for sig, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
            for pid in self.alive():
                os.kill(pid, sig)
            with contextlib.suppress(Failure):
                wait_for(lambda: not self.alive(), seconds, self.name)
                break


class Nginx(Daemon):
    name = "nginx"

    def __init__(self, place, port, upstream_socket, name=name):
        self.name = name
        super().__init__(place)
        self.port = port
        self.prefix = place.path / f"{name}.d"
        values = {"PORT": str(port), "SOCKET": str(upstream_socket), "USER": "user root;" if os.geteuid() == 0 else ""}
        template = (ROOT / "conf/nginx/dev.conf.in").read_text()
        self.configuration = re.sub(r"@([A-Z]+)@", lambda m: values.get(m[1], m[0]), template)

    def start(self):
        (self.prefix / "nginx-temp").mkdir(parents=True, exist_ok=True)
        (self.prefix / "nginx.conf").write_text(self.configuration)
        shutil.copy(ROOT / "conf/nginx/hob-fastcgi.conf", self.prefix)
        self.spawn([shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.prefix, "-c", "nginx.conf", "-e", "stderr"])
        self.wait_ready(lambda: accepts(socket.AF_INET, ("127.0.0.1", self.port)))


# ---- Together ----


def migrate(binary, database):
    done = subprocess.run([binary, "migrate"], cwd=ROOT, env=base_environment() | {"DATABASE_URL": database.url},
                          capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"{binary.name} migrate: {done.stderr.strip()}")


def readiness(port):
    """Status and body of /readyz; status 0 while nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def wait_ready(port, seconds=30):
    wait_for(lambda: readiness(port)[0] == 200, seconds, f"http://127.0.0.1:{port}/readyz")
