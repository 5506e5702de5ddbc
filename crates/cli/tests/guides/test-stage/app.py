import attrs


@attrs.define
class Sum:
    value: int = 0


def total(numbers):
    result = Sum()
    for number in numbers:
        result.value += number
    return result
