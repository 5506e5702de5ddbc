from importlib.metadata import version


def main() -> None:
    print("hatched", version("hatched"))
