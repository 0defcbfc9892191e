import nbformat
import pytest
from conftest import REPOSITORY
from nbclient import NotebookClient

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, request, monkeypatch):
    store = request.getfixturevalue("rivals" if "compare" in path.stem else "store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(store.folder)}}).execute()
    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert shown, "a notebook that shows nothing"
    if "compare" in path.stem:
        text = "".join(str(output.get("data", output)) for cell in shown for output in cell.outputs)
        for said in ("finding_macro_f1", "findings version 2", "image/svg+xml", "promoted"):
            assert said in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)]
