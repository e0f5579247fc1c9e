"""Owns the made-up physiology of the demo: behaviour and spike trains that agree with each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONTRASTS = np.array([1.0, 0.25, 0.125, 0.0625, 0.0])
WHEEL_RAD = 0.28
"""Turn that answers a trial: 35 degrees of the stimulus, at 4 degrees/mm, on a wheel of 62 mm."""
ENCODER_TICK_RAD = 2 * np.pi / 4096
WHEEL_GRID_HZ = 250
REFRACTORY_S = 0.002
SPIKE_BIN_S = 0.01
SAMPLE_RATE_HZ = 30_000
PROBE_LENGTH_UM = 3840
VISUAL_DELAY_S = 0.05


@dataclass(frozen=True, slots=True)
class Trials:
    """A session of the two-alternative task. Times in seconds from session start, one row a trial.

    `choice` is 1 for a clockwise turn (correct when the stimulus is on the left) and -1 for the other;
    `feedback` is 1 for reward, -1 for error.
    """

    start_s: Floats
    end_s: Floats
    quiescence_s: Floats
    stim_on_s: Floats
    go_cue_s: Floats
    movement_s: Floats
    response_s: Floats
    feedback_s: Floats
    stim_off_s: Floats
    contrast_left: Floats
    contrast_right: Floats
    probability_left: Floats
    choice: Ints
    feedback: Ints

    def __len__(self) -> int:
        return len(self.start_s)


@dataclass(frozen=True, slots=True)
class Wheel:
    """Wheel angle as an encoder gives it (one row a change of tick), and the movements in it."""

    timestamps_s: Floats
    position_rad: Floats
    moves_s: Floats
    peak_amplitude_rad: Floats


@dataclass(frozen=True, slots=True)
class Spikes:
    """One sorting of one probe: spikes ordered by time, then their clusters' and channels' properties."""

    times_s: Floats
    clusters: NDArray[np.int32]
    amps_v: Floats
    depths_um: Floats
    cluster_depths_um: Floats
    cluster_channels: Ints
    cluster_amps_v: Floats


def _prior_blocks(rng: np.random.Generator, n_trials: int) -> Floats:
    """Probability that the stimulus is on the left: even at first, then blocks of 0.2 and 0.8 in turn."""
    probabilities = [0.5] * min(40, n_trials)
    prior = float(rng.choice([0.2, 0.8]))
    while len(probabilities) < n_trials:
        probabilities += [prior] * int(rng.integers(20, 50))
        prior = 1.0 - prior
    return np.round(np.array(probabilities[:n_trials]), 1)


def make_trials(rng: np.random.Generator, n_trials: int, skill: float) -> Trials:
    """Trials of a mouse whose `skill` runs from 0 (guesses) to 1 (expert)."""
    probability_left = _prior_blocks(rng, n_trials)
    on_left = rng.random(n_trials) < probability_left
    contrast = rng.choice(CONTRASTS, n_trials, p=[0.22, 0.22, 0.22, 0.22, 0.12])
    evidence = np.where(on_left, 1, -1) * contrast * 9 * skill + (probability_left - 0.5) * 2 * skill
    lapse = 0.05 + 0.3 * (1 - skill)
    turns_clockwise = rng.random(n_trials) < lapse + (1 - 2 * lapse) / (1 + np.exp(-evidence))
    rewarded = turns_clockwise == on_left

    quiescence = rng.uniform(0.4, 0.7, n_trials)
    reaction = 0.12 + rng.lognormal(-1.6, 0.45, n_trials) * (1.6 - contrast * skill)
    turning = rng.uniform(0.15, 0.45, n_trials)
    after_feedback = np.where(rewarded, 1.0, 2.0)
    gap = rng.uniform(0.3, 0.9, n_trials)
    length = quiescence + 0.01 + reaction + turning + after_feedback + gap
    start = 5.0 + np.concatenate([[0.0], np.cumsum(length)[:-1]])
    stim_on = start + quiescence
    go_cue = stim_on + rng.uniform(0.0005, 0.002, n_trials)
    movement = go_cue + reaction
    response = movement + turning
    feedback = response + rng.uniform(0.0001, 0.001, n_trials)
    stim_off = feedback + after_feedback
    return Trials(
        start_s=start,
        end_s=stim_off + 0.1,
        quiescence_s=quiescence,
        stim_on_s=stim_on,
        go_cue_s=go_cue,
        movement_s=movement,
        response_s=response,
        feedback_s=feedback,
        stim_off_s=stim_off,
        contrast_left=np.where(on_left, contrast, np.nan),
        contrast_right=np.where(on_left, np.nan, contrast),
        probability_left=probability_left,
        choice=np.where(turns_clockwise, 1, -1),
        feedback=np.where(rewarded, 1, -1),
    )


def make_wheel(rng: np.random.Generator, trials: Trials) -> Wheel:
    """The wheel that gave these trials: one turn a trial, with small twitches between."""
    twitches = rng.random(len(trials)) < 0.3
    twitch_start = trials.feedback_s[twitches] + rng.uniform(0.3, 0.6, int(twitches.sum()))
    starts = np.concatenate([trials.movement_s, twitch_start])
    ends = np.concatenate([trials.response_s, twitch_start + rng.uniform(0.08, 0.2, len(twitch_start))])
    # A positive angle is counter-clockwise, a positive choice clockwise.
    turns = np.concatenate([-trials.choice * WHEEL_RAD, rng.normal(0, 0.04, len(twitch_start))])
    order = np.argsort(starts)
    starts, ends, turns = starts[order], ends[order], turns[order]

    grid = np.arange(0.0, trials.end_s[-1] + 1.0, 1 / WHEEL_GRID_HZ)
    move = np.searchsorted(starts, grid, side="right") - 1
    done = np.concatenate([[0.0], np.cumsum(turns)])
    current = np.maximum(move, 0)
    phase = np.clip((grid - starts[current]) / (ends - starts)[current], 0.0, 1.0)
    smooth = phase**3 * (10 - 15 * phase + 6 * phase**2)
    angle = np.where(move < 0, 0.0, done[current] + turns[current] * smooth)
    ticks = np.round(angle / ENCODER_TICK_RAD)
    kept = np.union1d(np.flatnonzero(np.diff(ticks, prepend=ticks[0])), [0, len(grid) - 1])
    return Wheel(
        timestamps_s=grid[kept],
        position_rad=ticks[kept] * ENCODER_TICK_RAD,
        moves_s=np.column_stack([starts, ends]),
        peak_amplitude_rad=turns,
    )


def make_licks(rng: np.random.Generator, trials: Trials) -> Floats:
    """Lick times in seconds: bouts at about 7 Hz after each reward, and a few stray ones."""
    rewards = trials.feedback_s[trials.feedback > 0]
    bout = 0.12 + np.cumsum(rng.normal(0.14, 0.02, (len(rewards), 6)).clip(0.06), axis=1)
    kept = rng.random(bout.shape) < np.linspace(1.0, 0.4, bout.shape[1])
    stray = rng.uniform(0, trials.end_s[-1], len(trials) // 4)
    return np.sort(np.concatenate([(rewards[:, None] + bout)[kept], stray]))


def _responses(grid_s: Floats, events_s: Floats, weights: Floats, delay_s: float, decay_s: float) -> Floats:
    """Sum of exponential responses to weighted events, on an even grid."""
    impulses = np.zeros(len(grid_s))
    bins = np.round((events_s + delay_s) / SPIKE_BIN_S).astype(np.int64)
    inside = bins < len(grid_s)
    np.add.at(impulses, bins[inside], weights[inside])
    kernel = np.exp(-np.arange(0.0, 6 * decay_s, SPIKE_BIN_S) / decay_s)
    return np.convolve(impulses, kernel)[: len(grid_s)]


def _refractory(times_s: Floats, clusters: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which spikes keep their distance from the one before; input ordered by cluster, then time."""
    follows = np.diff(clusters, prepend=-1) == 0
    too_soon: NDArray[np.bool_] = follows & (np.diff(times_s, prepend=-1.0) < REFRACTORY_S)
    return ~too_soon


def make_spikes(rng: np.random.Generator, trials: Trials, n_clusters: int) -> Spikes:
    """Poisson-like spike trains with a refractory period; rates follow stimulus, movement and reward."""
    grid = np.arange(0.0, trials.end_s[-1] + 1.0, SPIKE_BIN_S)
    one = np.ones(len(trials))
    reward = np.where(trials.feedback > 0, 1.0, 0.0)
    drives = np.stack(
        [
            _responses(grid, trials.stim_on_s, np.nan_to_num(trials.contrast_left), VISUAL_DELAY_S, 0.12),
            _responses(grid, trials.stim_on_s, np.nan_to_num(trials.contrast_right), VISUAL_DELAY_S, 0.12),
            _responses(grid, trials.movement_s, one, -0.1, 0.15),
            _responses(grid, trials.feedback_s, reward, 0.05, 0.3),
        ]
    )
    base_hz = rng.lognormal(1.0, 0.7, n_clusters)
    gains = rng.gamma(0.5, 1.6, (n_clusters, len(drives)))
    slow = 1 + 0.2 * np.sin(2 * np.pi * (grid / 300 + rng.random((n_clusters, 1))))
    chance = (base_hz[:, None] * slow * (1 + gains @ drives) * SPIKE_BIN_S).clip(0, 0.9)
    cluster, time_bin = np.nonzero(rng.random(chance.shape) < chance)
    times = (time_bin + rng.random(len(time_bin))) * SPIKE_BIN_S
    times = np.round(times * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    clusters = cluster.astype(np.int32)
    kept = _refractory(times, clusters)
    times, clusters = times[kept], clusters[kept]
    order = np.lexsort((clusters, times))
    times, clusters = times[order], clusters[order]

    depths = np.sort(rng.uniform(100, PROBE_LENGTH_UM - 100, n_clusters))
    amps = rng.lognormal(-9.3, 0.4, n_clusters)
    return Spikes(
        times_s=times,
        clusters=clusters,
        amps_v=amps[clusters] * rng.normal(1, 0.12, len(times)).clip(0.4),
        depths_um=depths[clusters] + rng.normal(0, 12, len(times)),
        cluster_depths_um=depths,
        cluster_channels=np.round(depths / PROBE_LENGTH_UM * 383).astype(np.int64),
        cluster_amps_v=amps,
    )


def sort_again(rng: np.random.Generator, spikes: Spikes) -> Spikes:
    """What a later run of the spike sorter makes of it: a few spikes fewer, a few in another cluster."""
    kept = rng.random(len(spikes.times_s)) > 0.02
    n_clusters = len(spikes.cluster_depths_um)
    moved = rng.random(len(spikes.times_s)) < 0.01
    neighbour = np.minimum(spikes.clusters + 1, n_clusters - 1)
    return Spikes(
        times_s=spikes.times_s[kept],
        clusters=np.where(moved, neighbour, spikes.clusters)[kept].astype(np.int32),
        amps_v=spikes.amps_v[kept],
        depths_um=spikes.depths_um[kept],
        cluster_depths_um=spikes.cluster_depths_um,
        cluster_channels=spikes.cluster_channels,
        cluster_amps_v=spikes.cluster_amps_v,
    )


def make_motion_energy(rng: np.random.Generator, frames_s: Floats, wheel: Wheel, licks_s: Floats) -> Floats:
    """Motion energy of a video, one value a frame: raised while the mouse turns the wheel or licks."""
    move = np.searchsorted(wheel.moves_s[:, 0], frames_s, side="right") - 1
    moving = (move >= 0) & (frames_s < wheel.moves_s[np.maximum(move, 0), 1] + 0.05)
    licking = np.searchsorted(licks_s, frames_s + 0.05) > np.searchsorted(licks_s, frames_s - 0.05)
    energy: Floats = 1.5 + 4.0 * moving + 2.0 * licking + rng.gamma(2.0, 0.3, len(frames_s))
    return energy
