# F4 protocol_violation: an exception that cannot be written down
class Failure(Exception):
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


raise Failure
