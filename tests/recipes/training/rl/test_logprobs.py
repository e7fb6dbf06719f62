import torch
from torch.testing import assert_close

from training.rl.linear import Linear
from training.rl.logprobs import token_logprobs


def _case(n: int = 7, width: int = 5, words: int = 11) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n, width, generator=generator, requires_grad=True)
    weight = torch.randn(words, width, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(words, (n,), generator=generator)


def test_equal_logits_give_the_uniform_distribution():
    logprobs, entropies = token_logprobs(torch.zeros(2, 3), torch.randn(8, 3), torch.tensor([0, 5]), entropies=True)
    assert_close(logprobs, torch.full((2,), -2.0794415))  # log(1/8)
    assert_close(entropies, torch.full((2,), 2.0794415))


def test_values_and_gradients_are_those_of_torch_whatever_the_chunk():
    hidden, weight, tokens = _case()
    direct = torch.log_softmax(hidden @ weight.T / 0.7, -1)
    upstream = torch.arange(1.0, 8.0)
    wanted = torch.autograd.grad((direct.gather(1, tokens[:, None])[:, 0] * upstream).sum(), (hidden, weight))
    for rows in (1, 3, 100):
        logprobs, _ = token_logprobs(hidden, weight, tokens, 0.7, rows=rows)
        assert_close(logprobs, direct.gather(1, tokens[:, None])[:, 0])
        assert_close(torch.autograd.grad((logprobs * upstream).sum(), (hidden, weight)), wanted)


def test_an_output_layer_that_is_laid_out_already_gives_the_same_values_and_gradients():
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(16, 64, bias=False).requires_grad_(False)
    layer.weight.copy_(
        torch.randn(64, 16, generator=generator).half()
    )  # whatever way it is laid out, it is not rounded
    tokens, found = torch.arange(9).mul(7).remainder(64), []
    for output in (None, Linear(layer)):
        hidden = torch.randn(9, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        logprobs, entropies = token_logprobs(hidden, layer.weight, tokens, 0.7, entropies=True, rows=4, output=output)
        (logprobs * torch.arange(9)).sum().backward()
        found.append((logprobs.detach(), entropies, hidden.grad))
    assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


def test_a_frozen_output_layer_gets_no_gradient():
    hidden, weight, tokens = _case()
    logprobs, _ = token_logprobs(hidden, weight.detach(), tokens)
    logprobs.sum().backward()
    assert hidden.grad is not None and weight.grad is None


def test_certain_tokens_do_not_overflow():
    hidden = torch.tensor([[200.0], [-200.0]])
    logprobs, entropies = token_logprobs(
        hidden, torch.tensor([[1.0], [0.0], [-1.0]]), torch.tensor([0, 0]), entropies=True
    )
    assert_close(logprobs, torch.tensor([0.0, -400.0]))
    assert torch.isfinite(entropies).all()


def test_entropies_are_those_of_torch():
    hidden, weight, tokens = _case()
    with torch.no_grad():
        logprobs, entropies = token_logprobs(hidden, weight, tokens, 0.7, entropies=True, rows=3)
    wanted = torch.distributions.Categorical(logits=hidden @ weight.T / 0.7)
    assert_close(entropies, wanted.entropy())
    assert_close(logprobs, wanted.log_prob(tokens))
