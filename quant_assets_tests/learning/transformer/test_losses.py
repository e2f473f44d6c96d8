"""Losses: sign and pairing of the ranking, dates apart, labels that are not known."""

import pytest

from quant_assets.errors import DatasetError

torch = pytest.importorskip("torch", reason="the extra deep is not installed")

from quant_assets.learning.transformer import losses  # noqa: E402

GENERATOR = torch.Generator().manual_seed(5)
RETURNS = torch.randn(12, generator=GENERATOR) * 0.02
DATES = torch.tensor([3, 1, 3, 2, 1, 3, 1, 2, 3, 9, 1, 2])


def by_hand(forecast: torch.Tensor, target: torch.Tensor, groups: torch.Tensor) -> float:
    means = []
    for group in sorted({*groups.tolist()}):
        names = [i for i, each in enumerate(groups.tolist()) if each == group]
        pairs = [max(0.0, -float((forecast[i] - forecast[j]) * (target[i] - target[j]))) for i in names for j in names]
        if len(names) > 1:
            means.append(sum(pairs) / len(pairs))
    return sum(means) / len(means)


def side_by_side(values: torch.Tensor, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of dates of different sizes as (dates, names, horizons), 9 where there is no name, and which are there."""
    dates = groups.unique()
    told = torch.full((len(dates), len(groups), values[0].numel()), 9.0)
    there = torch.zeros(told.shape[:2], dtype=torch.bool)
    for row, date in enumerate(dates):
        own = groups == date
        told[row, : int(own.sum())], there[row, : int(own.sum())] = values[own].view(-1, told.shape[2]), True
    return told, there


def ranking_loss(forecast: torch.Tensor, target: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Mean over the dates with two names or more."""
    (said, there), (was, _) = side_by_side(forecast, groups), side_by_side(target, groups)
    found = losses.ranking_losses(said, was, there)
    return found.sum() / max(1, int((there.sum(dim=1) > 1).sum()))


def test_a_perfect_ranking_costs_nothing_and_its_reverse_the_most() -> None:
    monotone = 5.0 * RETURNS + 1.0
    assert float(ranking_loss(monotone, RETURNS, DATES)) == 0.0
    worst = float(ranking_loss(-RETURNS, RETURNS, DATES))
    noise = [float(ranking_loss(RETURNS[torch.randperm(12, generator=GENERATOR)], RETURNS, DATES)) for _ in range(20)]
    assert min(noise) > 0.0
    assert max(noise) < worst


def test_exact_forecasts_cost_nothing() -> None:
    was, there = side_by_side(RETURNS, DATES)
    assert float(losses.fine_tuning_losses(was, was, there, alpha=10.0).sum()) == 0.0
    reversed_ = losses.fine_tuning_losses(-was, was, there, alpha=10.0).sum()
    assert float(reversed_) > float(losses.fine_tuning_losses(-was, was, there, alpha=0.0).sum()) > 0.0


def test_pairs_by_hand() -> None:
    forecast = torch.randn(12, generator=GENERATOR)
    found = ranking_loss(forecast, RETURNS, DATES)
    assert float(found) == pytest.approx(by_hand(forecast, RETURNS, DATES), rel=1e-5)
    (said, there), (was, _) = side_by_side(forecast, DATES), side_by_side(RETURNS, DATES)
    total = losses.fine_tuning_losses(said, was, there, alpha=3.0)
    for loss, date in zip(total, DATES.unique(), strict=True):
        own = date == DATES
        ranking = by_hand(forecast[own], RETURNS[own], DATES[own]) if int(own.sum()) > 1 else 0.0
        squared = float(((forecast[own] - RETURNS[own]) ** 2).mean())
        assert float(loss) == pytest.approx(squared + 3.0 * ranking, rel=1e-5)


def test_names_of_different_dates_are_not_compared() -> None:
    target = torch.tensor([0.01, 0.02, -0.03, -0.02])
    forecast = torch.tensor([0.1, 0.2, 0.8, 0.9])  # each date in order, the dates against each other not
    assert float(ranking_loss(forecast, target, torch.tensor([0, 0, 1, 1]))) == 0.0
    assert float(ranking_loss(forecast, target, torch.tensor([0, 0, 0, 0]))) > 0.0


def test_a_step_along_the_gradient_puts_a_pair_in_order() -> None:
    forecast = torch.tensor([0.5, -0.5], requires_grad=True)
    ranking_loss(forecast, torch.tensor([-0.1, 0.1]), torch.tensor([0, 0])).backward()
    assert forecast.grad[0] > 0 > forecast.grad[1]


def test_dates_with_one_name_alone() -> None:
    forecast = torch.ones(3, requires_grad=True)
    loss = ranking_loss(forecast, torch.zeros(3), torch.tensor([0, 1, 2]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.equal(forecast.grad, torch.zeros(3))


def test_several_horizons_are_ranked_each_by_itself() -> None:
    forecast, target = torch.randn(12, 2, generator=GENERATOR), torch.randn(12, 2, generator=GENERATOR)
    each = [ranking_loss(forecast[:, i], target[:, i], DATES) for i in range(2)]
    torch.testing.assert_close(ranking_loss(forecast, target, DATES), (each[0] + each[1]) / 2)


@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 4, 1), (3, 4), (3, 4)),
        ((3, 4), (3, 4), (3,)),
        ((3, 4, 1), (3, 4, 1), (3, 1)),
        ((3, 4, 1), (3, 1, 1), (3, 4)),
    ],
)
def test_shapes_that_would_be_broadcast(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(DatasetError, match="same shape"):
        losses.fine_tuning_losses(*(torch.zeros(each) for each in shapes), alpha=1.0)


def test_hidden_values() -> None:
    windows = torch.rand(40, 32, 25, generator=GENERATOR) + 1.0
    draws = torch.rand(windows.shape, generator=torch.Generator().manual_seed(1))
    hidden = losses.masked(windows, draws)
    assert ((hidden == 0).sum(dim=1) == 10).all()  # 0.3 x 32, of each window and column
    assert torch.equal(hidden[hidden != 0], windows[hidden != 0])
    assert torch.equal(hidden[[3, 7]], losses.masked(windows[[3, 7]], draws[[3, 7]])), "a window's are its own"
    share = (hidden == 0).float().mean(dim=(0, 2))
    assert ((share > 0.2) & (share < 0.4)).all()  # every day alike
    assert not torch.equal(hidden[:, :, 0] == 0, hidden[:, :, 1] == 0)


def test_the_average_price_is_that_of_the_close() -> None:
    windows = torch.rand(4, 32, 25, generator=GENERATOR)
    torch.testing.assert_close(losses.average_price(windows), windows[:, :, 19].mean(dim=1))


def test_pretraining_tasks_and_their_weights() -> None:
    outputs = {
        "stock": torch.randn(6, 5, generator=GENERATOR),
        "sector": torch.randn(6, 3, generator=GENERATOR),
        "mask_avg_price": torch.randn(6, generator=GENERATOR),
    }
    labels = {
        "stock": torch.tensor([0, 1, 2, 3, 4, 0]),
        "sector": torch.tensor([0, -1, 2, -1, 1, 0]),
        "mask_avg_price": torch.rand(6, generator=GENERATOR),
    }
    found = losses.pretraining_losses(outputs, labels)
    known = labels["sector"] >= 0
    assert all(each.shape == (6,) for each in found.values())
    torch.testing.assert_close(
        found["sector"].sum() / known.sum(),
        torch.nn.functional.cross_entropy(outputs["sector"][known], labels["sector"][known]),
    )
    assert torch.equal(found["sector"][~known], torch.zeros(2))
    log = torch.log_softmax(outputs["stock"], dim=1)
    torch.testing.assert_close(found["stock"], -log[torch.arange(6), labels["stock"]])
    of_windows = torch.rand(6, generator=GENERATOR)
    total = losses.pretraining_loss(outputs, labels, {"stock": 1.0, "sector": of_windows, "mask_avg_price": 2.0})
    torch.testing.assert_close(total, found["stock"] + of_windows * found["sector"] + 2.0 * found["mask_avg_price"])
    with pytest.raises(DatasetError, match="sector has no weight"):
        losses.pretraining_loss(outputs, labels, {"stock": 1.0, "mask_avg_price": 1.0})
    with pytest.raises(DatasetError, match="stock needs one label for each of its 6"):
        losses.pretraining_losses(outputs, labels | {"stock": torch.tensor([0])})
    with pytest.raises(DatasetError, match="no pre-training head"):
        losses.pretraining_loss({}, {}, {})
