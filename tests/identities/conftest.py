from tests.fundamentals.conftest import house as house  # pytest finds fixtures by their name here
