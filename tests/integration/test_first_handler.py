"""The README's first handler is a whole application: it compiles, links and answers."""
import re
import subprocess
import textwrap

from conftest import BUILD, ROOT, Worker
from fcgi_client import Connection


def readme_program():
    section = (ROOT / "README.md").read_text().split("## A first handler\n")[1]
    return textwrap.dedent(re.search(r"\n((?:    .*\n|\n)+)", section)[1])


def compiled(directory):
    (directory / "books.c").write_text(readme_program())
    sanitizers = ["-fsanitize=address,undefined"] if "san" in BUILD.name else []
    compiler = "clang" if "clang" in BUILD.name else "gcc"
    libraries = [BUILD / "libhob.a", "-lfcgi", "-ljson-c", "-lpq", "-lmemcached", "-lpthread"]
    subprocess.run([compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "lib", *sanitizers, "-rdynamic",
                    "-o", directory / "books", directory / "books.c", *libraries], check=True)
    return directory / "books"


def test_the_first_handler_answers(place, database, tmp_path):
    database.execute("CREATE TABLE books (id bigint PRIMARY KEY, title text NOT NULL)")
    database.execute("INSERT INTO books VALUES (1, 'The C Programming Language')")
    settings = {"DATABASE_URL": database.url, "HOB_LOG_LEVEL": "warn"}
    books = Worker(place, settings, program=compiled(tmp_path))
    books.start()
    try:
        with Connection(books.socket_path) as connection:
            found = connection.ask(target="/books/1")
            assert (found.status, found.body) == (200, b'{"id":1,"title":"The C Programming Language"}')
            assert connection.ask(target="/books/2").status == 404
    finally:
        assert books.stop() == 0
        database.execute("DROP TABLE books")
