"""Bytecode for a folder: never compared with its source, and the same bytes each time.

What a file's bytecode looks like depends a little on what its process compiled before, so each of a fixed number of processes
takes a fixed part of the files, in order.
"""

import os
import py_compile
import sys

PROCESSES = 4
LEFT_OUT = {"__pycache__", "test", "tests", "idlelib", "turtledemo", "_bundled"}


def sources(folder):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isdir(path) and not os.path.islink(path):
            if name not in LEFT_OUT:
                yield from sources(path)
        elif name.endswith(".py"):
            yield path


def work(paths):
    for path in paths:
        try:
            py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except py_compile.PyCompileError:
            # Templates and files of another Python; nobody imports them.
            pass


def main():
    paths = list(sources(sys.argv[1]))
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(paths[number::PROCESSES])
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(codes))


main()
