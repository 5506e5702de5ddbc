import argparse
import importlib.metadata


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name")
    print("hello", parser.parse_args().name, importlib.metadata.version("greet"))
