"""What MLflow stores as the code of a logged model ("models from code"): nothing is pickled."""

from mlflow.models import set_model

from findings.serving import FindingsModel

set_model(FindingsModel())
