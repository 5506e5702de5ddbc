from app import Sum, total


def test_total():
    assert total([1, 2]) == Sum(3)
