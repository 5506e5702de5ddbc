import gc, marshal, posix, sys, _imp, _warnings
from _frozen_importlib_external import MAGIC_NUMBER


def serve():
    magic_number = int.from_bytes(MAGIC_NUMBER, "little")

    def take(count):
        parts = []
        while count:
            part = posix.read(0, min(count, 1 << 20))
            if not part:
                posix._exit(3)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def give(data):
        view = memoryview(data)
        while view:
            view = view[posix.write(1, view):]

    def answer():
        request = take(int.from_bytes(take(4), "little"))
        number = lambda at: int.from_bytes(request[at:at + 4], "little")
        count, flags, at = number(0), request[4:8], 8
        parts = []
        for _ in range(count):
            start = at + 8
            middle = start + number(at)
            at_next = middle + number(at + 4)
            source = request[middle:at_next]
            path = request[start:middle].decode("utf-8", "surrogateescape")
            at = at_next
            try:
                code = marshal.dumps(compile(source, path, "exec", dont_inherit=True))
            except Exception:
                parts.append(b"\xff\xff\xff\xff")
                continue
            parts.append((16 + len(code)).to_bytes(4, "little"))
            parts.append(MAGIC_NUMBER + flags + _imp.source_hash(magic_number, source))
            parts.append(code)
        give(b"".join(parts))
        posix._exit(0)

    # Warnings about the source are nobody's business here, and showing them would import modules.
    _warnings.filters.insert(0, ("ignore", None, Warning, None, 0))
    gc.disable()
    gc.freeze()
    version = ".".join(map(str, sys.version_info[:3])).encode()
    give(len(version).to_bytes(4, "little") + version)
    # Each group is compiled in a child that has compiled nothing before: the bytes then depend on the group alone.
    while True:
        child = posix.fork()
        if child == 0:
            answer()
        status = posix.waitpid(child, 0)[1]
        if status == 3 << 8:
            # Leaving at once: an orderly end of the interpreter takes longer than compiling a file.
            posix._exit(0)
        if status:
            give(b"\xfe\xff\xff\xff")


serve()
