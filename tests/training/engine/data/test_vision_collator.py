import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from utils.training.engine.data import CollateError, ResumableDataLoader, VisionDataCollator
from utils.training.task_spec import IMAGENET_MEAN, IMAGENET_STD, TaskSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)  # height 6, width 5
EXPECTED = torch.tensor(PIXELS / 255).permute(2, 0, 1).float()  # [3, 6, 5]
GRAY = TaskSpec(name="digits", modality="vision", image_channels=1)


def plain(samples, task_spec=None):
    return VisionDataCollator(task_spec, normalize=False)(samples)


def close(given_tensor, expected):
    torch.testing.assert_close(given_tensor, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "image",
    [
        torch.tensor(PIXELS).permute(2, 0, 1),
        torch.tensor(PIXELS / 255).permute(2, 0, 1),
        torch.tensor(PIXELS / 255, dtype=torch.float16).permute(2, 0, 1),
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        (PIXELS / 255).astype(np.float32),
        PIXELS.astype(np.uint16) * 257,
        PIXELS.tolist(),
        Image.fromarray(PIXELS),
    ],
    ids=["uint8", "float64", "half", "HWC", "CHW", "float HWC", "16 bits", "list", "PIL"],
)
def test_an_image_of_any_form_becomes_channels_first_from_0_to_1(image):
    batch = plain([{"image": image, "label": 3}])
    tolerance = 1e-3 if isinstance(image, torch.Tensor) and image.dtype == torch.half else 1e-6
    assert batch["pixel_values"].dtype == torch.float32
    torch.testing.assert_close(batch["pixel_values"][0], EXPECTED, rtol=0, atol=tolerance)
    assert batch["labels"].tolist() == [3]


def test_a_flipped_image_is_an_image_too():
    close(plain([PIXELS[:, ::-1]])["pixel_values"][0], EXPECTED.flip(2))


def test_three_channels_are_normalised_as_imagenet_by_default():
    batch = VisionDataCollator()([(PIXELS, 0)])
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    close(batch["pixel_values"][0], (EXPECTED - mean) / std)


def test_the_tasks_mean_and_deviation_win_and_arguments_win_over_them():
    task = TaskSpec(
        name="photos", modality="vision", image_mean=(0.5, 0.4, 0.3), image_std=(0.5, 0.5, 0.25)
    )
    shifted = (EXPECTED - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor(
        [0.5, 0.5, 0.25]
    ).view(3, 1, 1)
    close(VisionDataCollator(task)([(PIXELS, 0)])["pixel_values"][0], shifted)
    argued = VisionDataCollator(task, mean=[0, 0, 0], std=[2, 2, 2])([(PIXELS, 0)])
    close(argued["pixel_values"][0], EXPECTED / 2)


def test_other_channel_counts_are_not_normalised_unless_told():
    gray = torch.full((1, 2, 2), 0.5)
    close(VisionDataCollator(GRAY)([gray])["pixel_values"], gray.unsqueeze(0))
    told = VisionDataCollator(GRAY, mean=[0.5], std=[0.1])([gray])
    close(told["pixel_values"], torch.zeros(1, 1, 2, 2))


def test_an_image_without_channels_gets_one():
    assert plain([torch.rand(4, 5), torch.rand(4, 5)])["pixel_values"].shape == (2, 1, 4, 5)
    assert plain([np.zeros((4, 5), np.uint8)])["pixel_values"].shape == (1, 1, 4, 5)


def test_pil_images_take_the_tasks_channels():
    picture = Image.fromarray(PIXELS)
    assert plain([picture], GRAY)["pixel_values"].shape == (1, 1, 6, 5)
    assert plain([picture.convert("P")])["pixel_values"].shape == (1, 3, 6, 5)
    assert plain([picture.convert("RGBA")], TaskSpec.vision_tiny())["pixel_values"].shape[1] == 3
    assert plain([picture.convert("L")])["pixel_values"].shape[1] == 1


def test_masks_of_a_segmentation_are_labels_by_pixel():
    mask = np.arange(30, dtype=np.uint8).reshape(6, 5)
    for label in (mask, torch.tensor(mask), Image.fromarray(mask)):
        batch = plain([(PIXELS, label), (PIXELS, label)])
        assert batch["labels"].dtype == torch.int64
        assert batch["labels"].shape == (2, 6, 5)
        assert batch["labels"][1].tolist() == mask.tolist()


def test_other_numbers_are_stacked_and_strings_left_out():
    batch = plain([{"img": PIXELS, "label": 1, "weight": 0.5, "path": "a.png"}])
    assert sorted(batch) == ["labels", "pixel_values", "weight"]
    assert batch["weight"].tolist() == [0.5]


def test_tensors_cut_at_once_give_the_same_batch():
    data = TensorDataset(torch.rand(8, 3, 4, 4), torch.arange(8))
    at_once = list(ResumableDataLoader(data, 4, collate_fn=VisionDataCollator()))
    one_by_one = list(ResumableDataLoader(list(data), 4, collate_fn=VisionDataCollator()))
    for ours, theirs in zip(at_once, one_by_one, strict=True):
        assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
        assert torch.equal(ours["labels"], theirs["labels"])
    gray = ResumableDataLoader(
        TensorDataset(torch.rand(2, 4, 4)), 2, collate_fn=VisionDataCollator()
    )
    assert next(iter(gray))["pixel_values"].shape == (2, 1, 4, 4)


def test_floats_out_of_range_warn_once(caplog):
    collator = VisionDataCollator(GRAY)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            collator([torch.full((1, 2, 2), 16.0)])
    assert len(caplog.records) == 1
    assert "taken as 0..1, and these hold 16 to 16" in caplog.text


def test_images_of_two_sizes_are_refused_with_both_shapes():
    with pytest.raises(CollateError, match=r"sample 1 has the shape \[3, 7, 5\].*0 \[3, 6, 5\]"):
        plain([torch.rand(3, 6, 5), torch.rand(3, 7, 5)])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no samples to collate"),
        ([{"photo": PIXELS}], "holds photo; give its image under one of pixel_values, image"),
        ([{"image": PIXELS, "img": PIXELS}], "holds image and img; give its image under one of"),
        ([torch.rand(2, 3, 4, 4)], r"has the shape \[2, 3, 4, 4\], allowed are"),
        ([{"image": PIXELS}, {"image": PIXELS, "label": 1}], "Sample 1 of the batch has the keys"),
        ([(PIXELS, 1, 2)], "a tuple of 3 items, allowed are pixel_values and a label"),
        (["photo.png"], "An image is the path 'photo.png'; open it first"),
    ],
)
def test_what_makes_no_batch_is_named(samples, message):
    with pytest.raises(CollateError, match=message):
        plain(samples)


def test_channels_that_differ_from_the_tasks_are_refused():
    with pytest.raises(CollateError, match=r"shape \[3, 6, 5\] and the task's is \[1, height"):
        plain([torch.rand(3, 6, 5)], GRAY)
    with pytest.raises(CollateError, match="mean has 3 values and the images 1 channels"):
        VisionDataCollator(mean=[0, 0, 0], std=[1, 1, 1])([torch.rand(1, 2, 2)])


def test_statistics_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="mean has 1 values and std 3"):
        VisionDataCollator(mean=[0], std=[1, 1, 1])
    with pytest.raises(ValueError, match="allowed are values greater than 0"):
        VisionDataCollator(std=[1, 0, 1])


@given(
    count=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_any_size_keeps_its_shape_and_pixels(count, channels, height, width):
    images = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)
    batch = plain(list(images))
    assert torch.equal((batch["pixel_values"] * 255).round().to(torch.uint8), images)
