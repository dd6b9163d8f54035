"""The rules of the house: which file may include which, banned functions, and how long files and functions may be."""
import ast
import pathlib
import re
import sys

FLOORS = {"base": 1, "run": 2, "http": 2, "json": 2, "data": 3, "middleware": 3, "front": 4, "handler": 4, "observe": 4}
TOP_FLOOR = 5  # lib/*.c
FILE_LINES, FUNCTION_LINES = 600, 80
BANNED = "sprintf vsprintf strcpy stpcpy strcat gets strtok atoi atol atoll alloca system".split()
C_HEADERS = "assert|ctype|errno|float|inttypes|limits|math|std\\w+|string|time"
APP_INCLUDES = re.compile(rf'"(hob|users_api)\.h"|<json-c/\w+\.h>|<({C_HEADERS})\.h>')
LEFTOVER = re.compile(r"\b(TO" "DO|FIX" "ME|XX" "X|HA" "CK)\b")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<][^">]+[">])', re.MULTILINE)


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def code_of(text):
    """C without comments, literals and preprocessor lines, every character at its place."""
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.MULTILINE)


def line_at(text, position):
    return text.count("\n", 0, position) + 1


def c_functions(code):
    """(name, first line, last line): at depth 0, a brace behind a parenthesis opens a function."""
    depth, begin, opened = 0, 0, None
    for match in re.finditer(r"[{};]", code):
        at = match.start()
        if match[0] == "{":
            if depth == 0 and code[begin:at].rstrip().endswith(")"):
                head = code[begin:at]
                opened = (re.findall(r"(\w+)\s*\(", head) or ["?"])[0], begin + len(head) - len(head.lstrip())
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth == 0 and opened:
                yield opened[0], line_at(code, opened[1]), line_at(code, at)
                opened = None
        if depth == 0:
            begin = at + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.lineno, node.end_lineno


def floor_of(path):
    parts = path.relative_to("lib").parts
    return FLOORS.get(parts[0], TOP_FLOOR) if len(parts) > 1 else TOP_FLOOR


def lib_includes(path):
    """(line, header) of what a file in lib/ includes from lib/; hob.h is everyone's."""
    text = path.read_text()
    for match in INCLUDE.finditer(text):
        name = match[1][1:-1]
        if match[1][0] == '"' and name != "hob.h":
            yield line_at(text, match.start()), pathlib.Path("lib", name)


def check_floors(path):
    for line, header in lib_includes(path):
        if not header.exists():
            yield line, f"includes {header.relative_to('lib')}, which is not in lib/"
        elif floor_of(header) > floor_of(path):
            yield line, f"climbs from floor {floor_of(path)} to {header.relative_to('lib')} on {floor_of(header)}"


def check_circles(headers):
    """Depth first; a header met again on the way down to itself closes a circle."""
    done = set()

    def visit(path, way):
        if path in way:
            yield path, 1, "includes itself: " + " -> ".join(str(p) for p in [*way[way.index(path):], path])
        elif path not in done and path.exists():
            for _, header in lib_includes(path):
                yield from visit(header, [*way, path])
            done.add(path)

    for header in headers:
        yield from visit(header, [])


def check_c(path, text):
    code = code_of(text)
    for match in re.finditer(rf"\b({'|'.join(BANNED)})\s*\(", code):
        yield line_at(code, match.start()), f"{match[1]} is banned"
    if path.parts[0] == "lib":
        yield from check_floors(path)
    if path.parts[0] == "app":
        for match in INCLUDE.finditer(text):
            if not APP_INCLUDES.fullmatch(match[1]):
                yield line_at(text, match.start()), f"app/ includes hob.h, json-c and C's own headers, not {match[1]}"


def check_file(path):
    text = path.read_text()
    is_c = path.suffix in (".c", ".h")
    if text.count("\n") > FILE_LINES:
        yield 1, f"{text.count(chr(10))} lines, more than {FILE_LINES}"
    functions = c_functions(code_of(text)) if is_c else python_functions(text) if path.suffix == ".py" else ()
    for name, first, last in functions:
        if last - first + 1 > FUNCTION_LINES:
            yield first, f"{name} has {last - first + 1} lines, more than {FUNCTION_LINES}"
    for number, line in enumerate(text.splitlines(), 1):
        if LEFTOVER.search(line):
            yield number, "a leftover"
    if is_c:
        yield from check_c(path, text)


def main():
    files = sorted(p for top in ("lib", "app", "tests", "conf") for p in pathlib.Path(top).rglob("*")
                   if p.suffix in (".c", ".h", ".S", ".py", ".sh"))
    found = [(path, line, text) for path in files for line, text in check_file(path)]
    found += check_circles(p for p in files if p.suffix == ".h" and p.parts[0] == "lib")
    for path, line, text in found:
        print(f"{path}:{line}: {text}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
