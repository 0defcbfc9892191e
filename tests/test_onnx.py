import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_tfidf import LABELS, same, small
from test_transformer import encoder, fitted, watched  # noqa: F401 - fixtures

from findings import models, onnx
from findings.errors import FindingsError
from findings.onnx import OnnxClassifier


@pytest.fixture(scope="module")
def fast(fitted):  # noqa: F811
    return onnx.convert(fitted, small())


@pytest.fixture
def folder(fast, tmp_path):
    fast.save(tmp_path)
    return tmp_path


def scored(classifier):
    return classifier.scores(small().sentences, small().headings)


def test_eight_bits_answer_as_the_torch_model_does(fast, fitted):  # noqa: F811
    assert fast.figures["bits"] == 8
    assert fast.figures["finding_macro_f1"] >= -onnx.LIMIT
    assert (scored(fast).findings.argmax(axis=1) == scored(fitted).findings.argmax(axis=1)).mean() > 0.95
    assert 0 < fast.figures["largest_difference"] < 1


def test_the_graph_in_32_bits_is_the_same_function(fitted, tmp_path):  # noqa: F811
    fitted.export(tmp_path / "exact.onnx")
    exact = OnnxClassifier((tmp_path / "exact.onnx").read_bytes(), fitted.tokenizer)
    assert np.allclose(scored(exact).findings, scored(fitted).findings, atol=1e-3)
    assert np.allclose(scored(exact).themes, scored(fitted).themes, atol=1e-3)


def test_where_eight_bits_lose_too_much_32_are_served(fitted, monkeypatch):  # noqa: F811
    def spoilt(source, target):
        from findings.transformer import TransformerClassifier

        untrained = TransformerClassifier(fitted.settings, fitted.labels, seed=5)
        untrained.tokenizer, untrained.model = fitted.tokenizer, type(fitted.model)(fitted.model.encoder, 4, 3)
        untrained.export(target)

    monkeypatch.setattr(onnx, "quantize", spoilt)
    served = onnx.convert(fitted, small())
    assert served.figures["bits"] == 32
    assert abs(served.figures["finding_macro_f1"]) < 1e-6


def test_only_matrix_products_are_in_eight_bits(fast):
    import onnx as library

    graph = library.load_from_string(fast.graph).graph
    kinds = [node.op_type for node in graph.node]
    layers = 2
    assert kinds.count("QAttention") == layers
    assert kinds.count("MatMulInteger") >= 3 * layers + 2, "the rest of the layers, and the heads"
    vectors = next(i for i in graph.initializer if "word_embeddings" in i.name)
    assert vectors.data_type == library.TensorProto.FLOAT


def test_order_makes_no_difference(fast):
    rows = small()
    turned = fast.scores(rows.sentences[::-1], rows.headings[::-1])
    assert (turned.findings[::-1].argmax(axis=1) == scored(fast).findings.argmax(axis=1)).mean() > 0.95


def test_it_answers_from_many_threads_at_once(fast):
    expected = scored(fast)
    with ThreadPoolExecutor(8) as pool:
        assert all(same(found, expected) for found in pool.map(lambda _: scored(fast), range(24)))


def test_saved_and_loaded_it_answers_the_same(fast, folder):
    assert {path.name for path in folder.iterdir()} == {"encoder.onnx", "tokenizer.json"}
    assert same(scored(OnnxClassifier.load(folder)), scored(fast))


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
@pytest.mark.parametrize("damage", [b"", b"\x08\x07rubbish", None])
def test_a_damaged_model_is_named(folder, name, damage):
    (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
    with pytest.raises(FindingsError, match=f"{name}: damaged or missing. Train the model again."):
        OnnxClassifier.load(folder)


def test_the_fast_form_cannot_be_trained(fast):
    with pytest.raises(FindingsError, match="Train the model that it came from"):
        fast.fit(small(), small())


def test_torch_is_not_imported_to_serve(fast, tmp_path):
    from findings import calibration
    from findings.models import Model

    rows = small()
    fit = calibration.fit(scored(fast), rows.findings, rows.themes)
    models.save(Model("encoder", fast, fit, LABELS), tmp_path / "model")
    code = (
        "import sys, pathlib; from findings import models;"
        f"model = models.load(pathlib.Path({str(tmp_path / 'model')!r}));"
        "model.predict(['Staff are excellent.']);"
        "print(sorted({'torch', 'transformers', 'onnx', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
