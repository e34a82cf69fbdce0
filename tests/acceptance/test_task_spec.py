"""The task specifications that users write, as the reference shows them."""

from utils.training.task_spec import TaskSpec


def test_a_language_task():
    task_spec = TaskSpec(
        name="sentences",
        modality="text",
        task_type="language_modeling",
        max_seq_len=128,
        vocab_size=32000,
    )
    assert (task_spec.modality, task_spec.max_seq_len) == ("text", 128)


def test_the_ready_made_tasks():
    assert TaskSpec.language_modeling_tiny().modality == "text"
    assert TaskSpec.vision_tiny().modality == "vision"
    assert TaskSpec.classification_tiny().task_type == "classification"
