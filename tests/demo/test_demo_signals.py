"""The demo's physiology: trials, wheel, licks and spikes agree with each other."""

import numpy as np
import pytest

from onefs.demo import signals


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def trials(rng: np.random.Generator) -> signals.Trials:
    return signals.make_trials(rng, 200, skill=0.9)


@pytest.fixture(scope="module")
def wheel(rng: np.random.Generator, trials: signals.Trials) -> signals.Wheel:
    return signals.make_wheel(rng, trials)


@pytest.fixture(scope="module")
def spikes(rng: np.random.Generator, trials: signals.Trials) -> signals.Spikes:
    return signals.make_spikes(rng, trials, n_clusters=25)


def test_the_events_of_a_trial_follow_each_other(trials: signals.Trials) -> None:
    events = [
        trials.start_s,
        trials.stim_on_s,
        trials.go_cue_s,
        trials.movement_s,
        trials.response_s,
        trials.feedback_s,
        trials.stim_off_s,
        trials.end_s,
    ]
    times = np.column_stack(events)
    assert (np.diff(times, axis=1) > 0).all()
    assert (trials.start_s[1:] > trials.end_s[:-1]).all()


def test_reward_is_for_the_turn_towards_the_centre(trials: signals.Trials) -> None:
    on_left = ~np.isnan(trials.contrast_left)
    assert (on_left == np.isnan(trials.contrast_right)).all()
    assert ((trials.choice == 1) == on_left)[trials.feedback == 1].all()
    assert ((trials.choice == 1) != on_left)[trials.feedback == -1].all()


def test_a_trained_mouse_sees_high_contrast_better(rng: np.random.Generator) -> None:
    trials = signals.make_trials(rng, 2000, skill=0.9)
    contrast = np.fmax(trials.contrast_left, trials.contrast_right)
    correct = trials.feedback == 1
    assert correct[contrast == 1].mean() > 0.85 > correct[contrast < 0.1].mean()


def test_the_wheel_turns_as_the_choice_says(trials: signals.Trials, wheel: signals.Wheel) -> None:
    assert (np.diff(wheel.timestamps_s) > 0).all()
    before, after = (
        np.interp(each, wheel.timestamps_s, wheel.position_rad) for each in (trials.movement_s, trials.response_s)
    )
    assert np.allclose(after - before, -trials.choice * signals.WHEEL_RAD, atol=0.02)
    assert np.isin(trials.movement_s, wheel.moves_s[:, 0]).all()
    assert (wheel.moves_s[1:, 0] > wheel.moves_s[:-1, 1]).all()


def test_mice_lick_after_reward(rng: np.random.Generator, trials: signals.Trials) -> None:
    licks_s = signals.make_licks(rng, trials)
    soon = np.searchsorted(licks_s, trials.feedback_s + 0.8) - np.searchsorted(licks_s, trials.feedback_s)
    assert (np.diff(licks_s) >= 0).all()
    assert soon[trials.feedback == 1].mean() > 5 * soon[trials.feedback == -1].mean()


def test_spikes_are_ordered_and_refractory(spikes: signals.Spikes) -> None:
    assert (np.diff(spikes.times_s) >= 0).all()
    assert set(spikes.clusters) == set(range(25))
    for cluster in range(25):
        assert np.diff(spikes.times_s[spikes.clusters == cluster]).min() >= signals.REFRACTORY_S - 1e-9


def test_rates_rise_around_the_trials_events(trials: signals.Trials, spikes: signals.Spikes) -> None:
    def rate_hz(start_s: np.ndarray, stop_s: np.ndarray) -> float:
        count = np.searchsorted(spikes.times_s, stop_s) - np.searchsorted(spikes.times_s, start_s)
        return count.sum() / (stop_s - start_s).sum()

    quiet = rate_hz(trials.start_s, trials.stim_on_s)
    assert rate_hz(trials.movement_s - 0.1, trials.movement_s + 0.1) > 1.3 * quiet


def test_sorting_again_gives_almost_the_same(rng: np.random.Generator, spikes: signals.Spikes) -> None:
    again = signals.sort_again(rng, spikes)
    assert 0.9 < len(again.times_s) / len(spikes.times_s) < 1
    assert np.isin(again.times_s, spikes.times_s).all()
