"""The images that docker-compose.yml names, by their variables: pulled where a registry can be reached, else built from
Debian's packages. What was built is kept under a tag that says what it was built from.

    python3 tests/compose/images/images.py    prints them as NAME=image; HOB_STAND_INS=1 asks no registry
"""
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
OFFICIAL = {"BASE_IMAGE": "debian:bookworm-slim", "POSTGRES_IMAGE": "postgres:15", "MEMCACHED_IMAGE": "memcached:1.6",
            "NGINX_IMAGE": "nginx:1.28"}
SUITE = "bookworm"
REPOSITORY = "users-api-stand-in"
# What debian:bookworm-slim leaves out; dpkg leaves it out of what is installed later, too.
LEFT_OUT = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*"]
AS_ROOT = [] if os.geteuid() == 0 else ["sudo"]


class Failure(Exception):
    """What went wrong, in a few lines."""


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        raise Failure(f"{shlex.join(map(str, command))}: {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def exists(image):
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0


def pulled(image):
    if exists(image):
        return True
    try:
        return subprocess.run(["docker", "pull", "-q", image], capture_output=True, timeout=300).returncode == 0
    except subprocess.TimeoutExpired:
        return False


# ---- debian:bookworm-slim, from where this machine's own apt gets its packages ----


def apt_sources():
    """One-line sources of Debian's own archives, as apt is configured here."""
    listed = run("apt-get", "indextargets", "--format", "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
                 "Identifier: Packages")
    found = [line.split("|") for line in listed.splitlines()]
    sources = sorted({f"deb {uri} {suite} {component}" for origin, uri, suite, component in found
                      if origin == "Debian" and component == "main" and suite.startswith(SUITE)})
    if not any(f" {SUITE} main" in source for source in sources):
        raise Failure(f"apt knows no Debian {SUITE} main (apt-get update?)")
    return sources


def apt_options():
    """How apt gets there: proxies, certificates, time-outs."""
    wanted = re.compile("Acquire::(http|https|Check|Retries)")
    return [line for line in run("apt-config", "dump").splitlines() if wanted.match(line)]


def certificates():
    path = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    return path if path.exists() and any("https:" in line for line in apt_sources() + apt_options()) else None


def configure_apt(root):
    files = {"etc/apt/sources.list": apt_sources(), "etc/apt/apt.conf.d/90host": apt_options(),
             "etc/apt/apt.conf.d/90slim": ['Acquire::Languages "none";', 'APT::Install-Suggests "false";',
                                           'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };'],
             "etc/dpkg/dpkg.cfg.d/slim": [f"path-exclude {pattern}" for pattern in LEFT_OUT] + ["force-unsafe-io"]}
    for name, lines in files.items():
        run(*AS_ROOT, "sh", "-c", f'cat >"$0" <<"END"\n{chr(10).join(lines)}\nEND', root / name)
    if certificates():
        run(*AS_ROOT, "install", "-D", "-m", "644", certificates(), root / "etc/ssl/certs/ca-certificates.crt")


def import_root(root, image):
    left_out = [f"--exclude=.{path}" for path in (*LEFT_OUT, "/var/cache/apt/*", "/var/lib/apt/lists/*", "/dev")]
    run("sh", "-euc", f'{shlex.join([*AS_ROOT, "tar", "-C", str(root), "--numeric-owner", *left_out, "-c", "."])}'
                      f' | docker import --change "CMD bash" - {image}')


def build_base(image):
    mirror = next(source.split()[1] for source in apt_sources() if source.endswith(f" {SUITE} main"))
    with tempfile.TemporaryDirectory(prefix="users-api-debian-") as directory:
        root = pathlib.Path(directory, "root")
        try:
            run(*AS_ROOT, "debootstrap", "--variant=minbase", SUITE, root, mirror)
            configure_apt(root)
            import_root(root, image)
        finally:
            run(*AS_ROOT, "rm", "-rf", root)


# ---- All of them ----


def tag(*inputs):
    return hashlib.sha256("\0".join(map(str, inputs)).encode()).hexdigest()[:12]


def build_stand_in(image, base, target):
    if not exists(image):
        run("docker", "build", "-q", "--build-arg", f"BASE={base}", "--target", target, "-t", image, HERE,
            env=os.environ | {"DOCKER_BUILDKIT": "0"})


def stand_ins():
    base = f"{REPOSITORY}/debian:{tag(pathlib.Path(__file__).read_text(), apt_sources(), apt_options())}"
    if not exists(base):
        build_base(base)
    version = tag(base, *(path.read_text() for path in (HERE / "Dockerfile", HERE / "postgres.sh")))
    images = {"BASE_IMAGE": base}
    for target in ("postgres", "memcached", "nginx"):
        images[f"{target.upper()}_IMAGE"] = f"{REPOSITORY}/{target}:{version}"
        build_stand_in(images[f"{target.upper()}_IMAGE"], base, target)
    return images


def images():
    """By variable. What the environment names is taken as it is."""
    given = {name: os.environ[name] for name in OFFICIAL if os.environ.get(name)}
    wanted = {name: image for name, image in OFFICIAL.items() if name not in given}
    if not os.environ.get("HOB_STAND_INS") and all(map(pulled, wanted.values())):
        return wanted | given
    return stand_ins() | given


if __name__ == "__main__":
    try:
        print("\n".join(f"{name}={image}" for name, image in images().items()))
    except Failure as failure:
        sys.exit(f"images: {failure}")
