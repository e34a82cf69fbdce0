"""The calls of the published interface, on data of our own."""

from utils.training.retraining_triggers import RetrainingTriggerManager


def test_the_decision_names_every_reason():
    manager = RetrainingTriggerManager(
        drift_threshold=0.2,
        performance_threshold=0.1,
        time_threshold_days=7,
        data_volume_threshold=10000,
    )
    should_retrain, reasons = manager.check_triggers(
        current_metrics={"val_loss": 0.6},
        baseline_metrics={"val_loss": 0.5},
        drift_score=0.31,
        new_data_count=20_000,
        last_train_timestamp="2025-01-01T00:00:00",
    )
    assert should_retrain is True
    assert isinstance(reasons, list)
    assert len(reasons) == 4
    assert all(isinstance(reason, str) for reason in reasons)
