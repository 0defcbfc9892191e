import gc
import threading
import time
import weakref

import pytest
import words

from findings.batches import CALL_ROWS, WAITING_ROWS, Batches, Overloaded
from findings.forms import Rows

FAR = float("inf")


def rows(number, text="Plans are good."):
    return Rows([text] * number, [""] * number)


@pytest.fixture
def model():
    return words.model()


@pytest.fixture
def batches():
    made = Batches()
    yield made
    made.close()


@pytest.fixture
def held(model, batches):
    """The thread is within a call for one row, until the gate is opened."""
    model.classifier.gate.clear()
    first = batches.submit(model, rows(1), FAR)
    assert model.classifier.entered.wait(60)
    yield first
    model.classifier.gate.set()


def test_who_waits_together_is_answered_in_one_call(model, batches, held):
    waiting = [batches.submit(model, rows(1, f"Plan {i} is {'late' if i % 2 else 'good'}."), FAR) for i in range(20)]
    model.classifier.gate.set()
    findings = [int(answer.result(60).findings[0]) for answer in waiting]
    assert findings == [1 if i % 2 else 0 for i in range(20)]
    assert model.classifier.seen == [1, 20]


def test_a_large_request_lets_small_ones_pass(model, batches, held):
    order = []
    for name, size in (("large", 5 * CALL_ROWS), ("small", 1)):
        batches.submit(model, rows(size), FAR).add_done_callback(lambda answer, name=name: order.append(name))
    last = batches.submit(model, rows(6 * CALL_ROWS), FAR)
    model.classifier.gate.set()
    assert len(last.result(60).findings) == 6 * CALL_ROWS
    assert order == ["small", "large"]
    assert max(model.classifier.seen) <= CALL_ROWS
    assert sum(model.classifier.seen) == 11 * CALL_ROWS + 2


def test_the_rows_of_a_large_request_stay_in_order(model, batches):
    sentences = [("Plans are good.", "Visits are late.", "Nothing.")[i % 3] for i in range(3 * CALL_ROWS + 5)]
    made = batches.submit(model, Rows(sentences, [""] * len(sentences)), FAR).result(60)
    assert made.findings.tolist() == model.predict(sentences).findings.tolist()
    assert made.themes.shape == (len(sentences), len(words.LABELS.themes))


def test_no_rows_are_answered_too(model, batches, held):
    empty = batches.submit(model, rows(0), FAR)
    model.classifier.gate.set()
    assert len(empty.result(60).findings) == 0


def test_when_its_time_is_over_the_rest_of_a_request_is_dropped(model, batches, held):
    late = batches.submit(model, rows(10 * CALL_ROWS), time.monotonic() - 1)
    model.classifier.gate.set()
    with pytest.raises(TimeoutError):
        late.result(60)
    assert len(batches.submit(model, rows(2), FAR).result(60).findings) == 2
    assert sum(model.classifier.seen) == 3


def test_a_request_that_nobody_waits_for_is_dropped(model, batches, held):
    gone = batches.submit(model, rows(10 * CALL_ROWS), FAR)
    assert gone.cancel()
    model.classifier.gate.set()
    assert len(batches.submit(model, rows(2), FAR).result(60).findings) == 2
    assert sum(model.classifier.seen) == 3


def test_ones_trouble_is_not_the_others(model, batches, held):
    good = batches.submit(model, rows(1), FAR)
    bad = batches.submit(model, rows(1, "boom"), FAR)
    also = batches.submit(model, rows(1), FAR)
    model.classifier.gate.set()
    assert len(good.result(60).findings) == len(also.result(60).findings) == 1
    with pytest.raises(KeyError):
        bad.result(60)


def test_who_comes_when_too_much_waits_is_sent_away(model, batches, held):
    batches.submit(model, rows(WAITING_ROWS - 1), FAR).add_done_callback(lambda answer: None)
    assert batches.full
    with pytest.raises(Overloaded):
        batches.submit(model, rows(1), FAR)
    model.classifier.gate.set()
    words.until(lambda: not batches.full)
    batches.submit(model, rows(1), FAR).result(60)


def test_each_is_answered_by_the_model_that_it_asked(model, batches, held):
    other = words.model()
    pairs = [(m, batches.submit(m, rows(1), FAR)) for m in (model, other, other, model)]
    model.classifier.gate.set()
    for _, answer in pairs:
        answer.result(60)
    assert model.classifier.seen == [1, 1, 1]
    assert other.classifier.seen == [2]


def test_a_model_that_was_replaced_is_let_go(batches):
    model = words.model()
    kept = weakref.ref(model.classifier)
    batches.submit(model, rows(2), FAR).result(60)
    del model
    words.until(lambda: gc.collect() >= 0 and kept() is None)


def test_it_tells_how_long_a_call_takes(model, batches, held):
    words.until(lambda: batches.stuck > 0)
    model.classifier.gate.set()
    held.result(60)
    words.until(lambda: batches.stuck == 0)


def test_closing_answers_what_waits_and_ends_the_thread(model):
    batches = Batches()
    waiting = [batches.submit(model, rows(3), FAR) for _ in range(5)]
    batches.close()
    assert all(answer.done() for answer in waiting)
    assert not [thread for thread in threading.enumerate() if thread is batches._thread]
    with pytest.raises(Overloaded):
        batches.submit(model, rows(1), FAR)
