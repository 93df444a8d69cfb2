from evohpc.lm.prompt_lookup import History


def test_what_followed_the_longest_ending_that_was_seen_before_is_guessed() -> None:
    history = History([1, 2, 3, 9, 2, 3, 8, 7, 1, 2, 3])
    assert history.guess(3) == [9, 2, 3]
    assert History([5, 2, 3, 9, 2, 3, 8, 7, 1, 2, 3]).guess(3) == [8, 7, 1]
    assert History([1, 2, 1]).guess(5) == [2, 1, 2, 1, 2]


def test_nothing_is_guessed_after_what_is_new() -> None:
    assert History([1, 2, 3]).guess(3) == []
    assert History([]).guess(3) == []
    assert History([1, 1]).guess(0) == []


def test_completions_of_one_prompt_learn_apart() -> None:
    prompt = History([1, 2])
    one, other = prompt.fork(), prompt.fork()
    one.append(1)
    assert one.guess(1) == [2]
    assert other.guess(1) == []
