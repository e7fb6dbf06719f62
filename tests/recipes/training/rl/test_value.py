import torch
from torch.testing import assert_close

from training.rl.rollout import rollout_of
from training.rl.sampler import Completions
from training.rl.value import ValueHead, state_features


def test_a_states_features_are_its_hidden_vector_and_the_mean_since_the_answer_began():
    completions = Completions(torch.tensor([[5, 6], [7, 0]]), torch.tensor([2, 1]), torch.tensor([False, False]))
    rollout = rollout_of([[1, 2], [3]], completions, pad_id=0)
    hidden = torch.arange(8.0).view(2, 4, 1)  # rows 0..3 and 4..7
    features = state_features(hidden, rollout)
    assert_close(features[0], torch.tensor([[1.0, 1.0], [2.0, 1.5]]))  # states are the tokens before those drawn
    assert_close(features[1, 0], torch.tensor([4.0, 4.0]))


def _episodes(signal: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(80, 5, 12, generator=generator)
    scores = torch.randn(80, generator=generator)
    features[:, :, 3] += signal * scores[:, None]
    mask = torch.arange(5) < torch.randint(1, 6, (80,), generator=generator)[:, None]
    return features, mask, scores


def test_the_warm_up_finds_what_tells_the_score():
    features, mask, scores = _episodes(signal=3.0)
    head = ValueHead(12)
    assert head.warm_up(features, mask, scores) > 0.5
    error = (head(features) - scores[:, None])[mask].detach().pow(2).mean()
    assert float(error) < 0.5 * float(scores.var())


def test_features_that_tell_nothing_leave_the_mean():
    features, mask, scores = _episodes(signal=0.0)
    head = ValueHead(12)
    assert head.warm_up(features, mask, scores) < 0.1
    values = head(features)[mask].detach()
    assert float(values.std()) < 0.3
    assert abs(float(values.mean() - (mask * scores[:, None])[mask].mean())) < 0.2
