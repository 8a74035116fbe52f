"""The recipe of this folder is good: what the other tests refuse is refused for its fault alone."""


def test_the_recipe_runs(template):
    assert (template / "model/weights.pt").is_file() and (template / "exp/decode_greedy_search/dev/wer").is_file()
