"""What items_load saw, and what is wrong with it.

An item's version only grows. So a read must give at least the highest version that anybody had been told before it
began: by the acknowledgement of a write, or by an earlier read. A write without an acknowledgement (its worker was killed,
503, 504) may have happened or not, and proves nothing until somebody reads its version.
"""
import collections
import operator

READS, WRITES = ("hit", "load", "listed", "listed-load", "past-cache"), ("put", "transaction")
Operation = collections.namedtuple("Operation", "kind item begin end status version worker")
Violation = collections.namedtuple("Violation", "what operation witness")


def parse(text):
    return [Operation(kind, *map(int, numbers)) for kind, *numbers in map(str.split, text.splitlines())]


def acknowledged(operations):
    return [o for o in operations if o.kind in WRITES and o.status == 200]


def unknown(operations):
    """Writes that may have happened or not."""
    return [o for o in operations if o.kind in WRITES and o.status != 200]


def reads(operations):
    return [o for o in operations if o.kind in READS and o.status == 200]


def too_old(later, earlier, what):
    """Those of `later` that give less than one of `earlier` that had ended before they began."""
    earlier = collections.deque(sorted(earlier, key=operator.attrgetter("end")))
    highest = None
    for operation in sorted(later, key=operator.attrgetter("begin")):
        while earlier and earlier[0].end < operation.begin:
            one = earlier.popleft()
            if highest is None or one.version > highest.version:
                highest = one
        if highest and operation.version < highest.version:
            yield Violation(what, operation, highest)


def too_new(of_item, writes):
    """Reads that ended before the write whose version they give began."""
    written = {write.version: write for write in writes}
    for read in of_item:
        write = written.get(read.version)
        if write and read.end < write.begin:
            yield Violation("read before it was written", read, write)


def violations(operations):
    by_item = collections.defaultdict(list)
    for operation in operations:
        by_item[operation.item].append(operation)
    found = []
    for of_item in by_item.values():
        writes, seen = acknowledged(of_item), reads(of_item)
        found += too_old(seen, writes, "older than an acknowledged write")
        found += too_old(seen, seen, "older than an earlier read")
        found += too_old(writes, writes + seen, "a write lost")
        found += too_new(seen, writes)
    return sorted(found, key=lambda violation: violation.operation.begin)


def wrong_ends(operations, before, after):
    """Items whose version in the database does not follow from the writes: {item: version} before and after."""
    for item, version in after.items():
        writes = [o for o in operations if o.item == item]
        least = before[item] + len(acknowledged(writes))
        if not least <= version <= least + len(unknown(writes)):
            yield f"item {item} went from {before[item]} to {version} with {least - before[item]} writes acknowledged" \
                  f" and {len(unknown(writes))} unknown"


def trace(violation, operations, events, before_ms=100, lines=40):
    """The violation, and what happened to its item and around it: times in ms from the end of its witness."""
    zero = violation.witness.end
    begin, end = min(violation.witness.begin, violation.operation.begin) - before_ms * 10**6, violation.operation.end
    rows = [((o.begin - zero) / 1e6, f"{(o.end - zero) / 1e6:+10.2f}  {o.kind} {o.status} version {o.version} of {o.worker}"
             + "  <-- this one" * (o is violation.operation) + "  <-- had told" * (o is violation.witness))
            for o in operations if o.item == violation.operation.item and begin <= o.end and o.begin <= end]
    rows += [((at - zero) / 1e6, f"            ==== {what}") for at, what in events if begin - 3 * 10**9 <= at <= end]
    marked = [row for row in rows if "<--" in row[1] or "====" in row[1]]
    shown = sorted(marked + sorted(row for row in rows if row not in marked)[-lines:])
    head = f"{violation.what}: item {violation.operation.item}, {violation.operation.kind}" \
           f" of version {violation.operation.version} after {violation.witness.version}"
    return "\n".join([head, *(f"{at:+10.2f} {text}" for at, text in shown)])
