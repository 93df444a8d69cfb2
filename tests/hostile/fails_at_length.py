# Q6 build_error: an exception of eighty megabytes
class Failure(Exception):
    def __str__(self):
        return "\x1b[2J" * 10**7


raise Failure
