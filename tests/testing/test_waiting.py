from amqpd.testing.waiting import Waiter, Waiters


def test_who_waits_is_looked_at_after_each_turn_and_woken_once() -> None:
    woken: list[str] = []
    facts = {"a": False, "b": True}
    waiters = Waiters()
    waiters.add(Waiter(lambda: facts["a"], lambda: woken.append("a")))
    waiters.add(Waiter(lambda: facts["b"], lambda: woken.append("b")))
    waiters.on_turn(True)
    assert woken == ["b"]
    facts["a"] = True
    waiters.on_turn(False)
    waiters.on_turn(False)
    assert woken == ["b", "a"]


def test_who_waits_for_rest_is_looked_at_when_nothing_is_left_to_do() -> None:
    woken: list[str] = []
    waiters = Waiters()
    waiters.add(Waiter(lambda: True, lambda: woken.append("rest"), at_rest=True))
    waiters.on_turn(True)
    assert woken == []
    waiters.on_turn(False)
    assert woken == ["rest"]


def test_an_error_belongs_to_who_waits() -> None:
    waiters = Waiters()
    waiter = Waiter(lambda: 1 // 0 > 0, lambda: None)
    waiters.add(waiter)
    waiters.on_turn(False)
    assert waiter.is_over
    assert isinstance(waiter.error, ZeroDivisionError)


def test_who_has_given_up_is_not_woken_and_all_are_when_the_broker_ends() -> None:
    woken: list[str] = []
    waiters = Waiters()
    gone = Waiter(lambda: False, lambda: woken.append("gone"))
    left = Waiter(lambda: False, lambda: woken.append("left"))
    for waiter in (gone, left):
        waiters.add(waiter)
    waiters.drop(gone)
    waiters.drop(gone)
    error = RuntimeError("it was stopped")
    waiters.fail(error)
    assert woken == ["left"]
    assert left.error is error
    assert gone.error is None


def test_who_is_asked_may_take_turns() -> None:
    waiters = Waiters()
    woken: list[str] = []

    def is_true() -> bool:
        waiters.on_turn(False)
        return True

    waiters.add(Waiter(is_true, lambda: woken.append("once")))
    waiters.on_turn(False)
    assert woken == ["once"]
