"""The files of one session of the demo: which datasets there are, and what each holds."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from onefs.demo import formats, raw, signals
from onefs.demo.plan import SORTINGS, TRIALS_REVISION, WHEEL_REVISION, Plan, demo_id

FRAME_RATE_HZ = 30
SMALL_SAMPLES = 900
N_SITES = 384
N_CLUSTERS = {"probe00": 28, "probe01": 22}
TRACKED = {"nose_tip": (330, 260), "paw_l": (420, 440), "pupil_top_r": (250, 120), "tongue_end_l": (355, 330)}
"""Points that the video is tracked for, with where in the image they are, in pixels."""
REGIONS = ("root", "VISp1", "VISp2/3", "VISp4", "VISp5", "VISp6a", "CA1", "DG-mo", "LP", "PO")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file with its bytes."""

    rel_path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class VirtualFile:
    """A file whose bytes are a function of `seed` and the offset, and are stored nowhere."""

    rel_path: str
    seed: int
    size_bytes: int
    md5: str


def session_files(plan: Plan, seed: int) -> Iterator[StoredFile | VirtualFile]:
    """All files of a session. The same for the same plan and seed."""
    if not plan.n_trials:
        return
    rng = np.random.default_rng([seed, plan.session.eid.int])
    trials = signals.make_trials(rng, plan.n_trials, plan.skill)
    wheel = signals.make_wheel(rng, trials)
    licks_s = signals.make_licks(rng, trials)
    yield from _trial_files(trials, wheel, licks_s)
    yield from _video_files(rng, trials, wheel, licks_s)
    yield from _rig_files(plan, trials, wheel)
    if plan.revised:
        yield StoredFile(f"alf/#{WHEEL_REVISION}#/_ibl_wheel.position.npy", formats.npy(wheel.position_rad * 2))
        rewards = np.where(trials.feedback > 0, 2.0, 0.0)
        yield StoredFile(f"alf/#{TRIALS_REVISION}#/_ibl_trials.table.pqt", _trials_table(trials, rewards))
    if plan.probes:
        yield from _insertion_files(rng, plan)
    for number, probe in enumerate(plan.probes):
        yield from _sorting_files(rng, plan, trials, probe)
        yield from _recording_files(seed, plan, number, probe)


def _trials_table(trials: signals.Trials, rewards_ul: NDArray[np.float64]) -> bytes:
    return formats.pqt(
        {
            "intervals_0": trials.start_s,
            "intervals_1": trials.end_s,
            "stimOn_times": trials.stim_on_s,
            "goCue_times": trials.go_cue_s,
            "firstMovement_times": trials.movement_s,
            "response_times": trials.response_s,
            "feedback_times": trials.feedback_s,
            "choice": trials.choice.astype(np.float64),
            "feedbackType": trials.feedback.astype(np.float64),
            "contrastLeft": trials.contrast_left,
            "contrastRight": trials.contrast_right,
            "probabilityLeft": trials.probability_left,
            "rewardVolume": rewards_ul,
        }
    )


def subject_trials(sessions: Sequence[tuple[str, bytes]]) -> bytes:
    """The trials of several sessions as one table, given the eid and trials table of each."""
    tables = [(eid, pq.read_table(io.BytesIO(content))) for eid, content in sessions]
    eids = [eid for eid, table in tables for _ in range(table.num_rows)]
    joined = pa.concat_tables([table for _, table in tables])
    columns = {name: joined.column(name).to_numpy() for name in joined.column_names}
    return formats.pqt({**columns, "session": eids})


def _trial_files(trials: signals.Trials, wheel: signals.Wheel, licks_s: NDArray[np.float64]) -> Iterator[StoredFile]:
    rewards_ul = np.where(trials.feedback > 0, 1.5, 0.0)
    yield StoredFile("alf/_ibl_trials.table.pqt", _trials_table(trials, rewards_ul))
    arrays = {
        "_ibl_trials.goCueTrigger_times": trials.go_cue_s - 0.0003,
        "_ibl_trials.stimOff_times": trials.stim_off_s,
        "_ibl_trials.quiescencePeriod": trials.quiescence_s,
        "_ibl_wheel.timestamps": wheel.timestamps_s,
        "_ibl_wheel.position": wheel.position_rad,
        "_ibl_wheelMoves.intervals": wheel.moves_s,
        "_ibl_wheelMoves.peakAmplitude": wheel.peak_amplitude_rad,
        "licks.times": licks_s,
    }
    for name, array in arrays.items():
        yield StoredFile(f"alf/{name}.npy", formats.npy(array))


def _video_files(
    rng: np.random.Generator, trials: signals.Trials, wheel: signals.Wheel, licks_s: NDArray[np.float64]
) -> Iterator[StoredFile]:
    n_frames = int((trials.end_s[-1] + 1) * FRAME_RATE_HZ)
    frames_s = (np.arange(n_frames) + rng.normal(0, 0.01, n_frames)) / FRAME_RATE_HZ + 0.2
    energy = signals.make_motion_energy(rng, frames_s, wheel, licks_s)
    tracked: dict[str, NDArray[np.float32]] = {}
    for point, (x, y) in TRACKED.items():
        wander = np.cumsum(rng.normal(0, 0.05, (2, n_frames)), axis=1) + rng.normal(0, 0.4, (2, n_frames))
        tracked[f"{point}_x"] = (x + wander[0] + energy).astype(np.float32)
        tracked[f"{point}_y"] = (y + wander[1] - energy).astype(np.float32)
        tracked[f"{point}_likelihood"] = (1 - rng.beta(0.5, 20, n_frames)).astype(np.float32)
    yield StoredFile("alf/_ibl_leftCamera.times.npy", formats.npy(frames_s))
    yield StoredFile("alf/_ibl_leftCamera.dlc.pqt", formats.pqt(tracked))
    yield StoredFile("alf/leftCamera.ROIMotionEnergy.npy", formats.npy(energy))
    yield StoredFile("raw_video_data/_iblrig_leftCamera.raw.mp4", formats.mp4(rng.bytes(128 << 10)))


def _rig_files(plan: Plan, trials: signals.Trials, wheel: signals.Wheel) -> Iterator[StoredFile]:
    settings = {
        "PYBPOD_PROTOCOL": plan.session.task_protocol,
        "SUBJECT_NAME": plan.subject,
        "SESSION_DATE": plan.date.isoformat(),
        "SESSION_NUMBER": f"{plan.number:03d}",
        "CONTRAST_SET": signals.CONTRASTS.tolist(),
        "WHEEL_GAIN_DEG_PER_MM": 4.0,
        "N_TRIALS": len(trials),
    }
    yield StoredFile("raw_behavior_data/_iblrig_taskSettings.raw.json", formats.text_json(settings))
    lines = [
        {
            "trial_num": number,
            "trial_start": float(start),
            "response_time": float(response),
            "correct": bool(won > 0),
        }
        for number, (start, response, won) in enumerate(
            zip(trials.start_s, trials.response_s, trials.feedback, strict=True), start=1
        )
    ]
    yield StoredFile("raw_behavior_data/_iblrig_taskData.raw.jsonable", formats.json_lines(lines))
    encoder = {
        "time_us": np.round(wheel.timestamps_s * 1e6).astype(np.int64).tolist(),
        "tick": np.round(wheel.position_rad / signals.ENCODER_TICK_RAD).astype(np.int64).tolist(),
    }
    yield StoredFile("raw_behavior_data/_iblrig_encoderPositions.raw.ssv", formats.delimited(encoder, " "))


def _insertion_files(rng: np.random.Generator, plan: Plan) -> Iterator[StoredFile]:
    trajectories = [
        {"label": probe, "x": -2243 + 400 * i, "y": -2000, "z": -100, "phi": 180, "theta": 15, "depth": 4000}
        for i, probe in enumerate(plan.probes)
    ]
    yield StoredFile("alf/probes.trajectory.json", formats.text_json(trajectories))
    labels = {
        "label": plan.probes,
        "model": ["3B2"] * len(plan.probes),
        "n_sites": [N_SITES] * len(plan.probes),
    }
    yield StoredFile("alf/probes.labels.htsv", formats.delimited(labels, "\t"))
    start = 20.0 + np.arange(20) * 0.3
    gabor = {
        "start": np.round(start, 4).tolist(),
        "stop": np.round(start + 0.3, 4).tolist(),
        "position": rng.choice([-35, 35], 20).tolist(),
        "contrast": rng.choice(signals.CONTRASTS, 20).tolist(),
    }
    yield StoredFile("alf/_ibl_passiveGabor.table.csv", formats.delimited(gabor))


def _sorting_files(rng: np.random.Generator, plan: Plan, trials: signals.Trials, probe: str) -> Iterator[StoredFile]:
    folder = f"alf/{probe}/pykilosort"
    spikes = signals.make_spikes(rng, trials, N_CLUSTERS[probe])
    yield from _spike_files(folder, spikes)
    yield from _cluster_files(rng, plan, folder, spikes, trials)
    yield from _channel_files(f"alf/{probe}", folder)
    if plan.revised:
        for revision in SORTINGS:
            yield from _spike_files(f"{folder}/#{revision}#", signals.sort_again(rng, spikes))


def _spike_files(folder: str, spikes: signals.Spikes) -> Iterator[StoredFile]:
    arrays: dict[str, NDArray[np.generic]] = {
        "times": spikes.times_s,
        "samples": np.round(spikes.times_s * raw.SAMPLE_RATE_HZ).astype(np.int64),
        "clusters": spikes.clusters,
        "amps": spikes.amps_v.astype(np.float32),
        "depths": spikes.depths_um.astype(np.float32),
    }
    for attribute, array in arrays.items():
        yield StoredFile(f"{folder}/spikes.{attribute}.npy", formats.npy(array))


def _cluster_files(
    rng: np.random.Generator, plan: Plan, folder: str, spikes: signals.Spikes, trials: signals.Trials
) -> Iterator[StoredFile]:
    n_clusters = len(spikes.cluster_depths_um)
    count = np.bincount(spikes.clusters, minlength=n_clusters)
    arrays: dict[str, NDArray[np.generic]] = {
        "clusters.channels": spikes.cluster_channels.astype(np.int32),
        "clusters.depths": spikes.cluster_depths_um,
        "clusters.amps": spikes.cluster_amps_v,
        "clusters.peakToTrough": rng.normal(0.4, 0.25, n_clusters),
        "templates.waveforms": _templates(rng, spikes),
    }
    for name, array in arrays.items():
        yield StoredFile(f"{folder}/{name}.npy", formats.npy(array))
    ids = [demo_id(f"{plan.session.eid}/{folder}/{cluster}") for cluster in range(n_clusters)]
    yield StoredFile(f"{folder}/clusters.uuids.csv", formats.delimited({"uuids": [str(each) for each in ids]}))
    metrics = {
        "cluster_id": np.arange(n_clusters),
        "firing_rate": count / trials.end_s[-1],
        "spike_count": count,
        "amp_median": spikes.cluster_amps_v,
        "presence_ratio": rng.beta(20, 1, n_clusters),
        "contamination": rng.beta(1, 12, n_clusters),
        "label": np.round(rng.integers(0, 4, n_clusters) / 3, 3),
    }
    yield StoredFile(f"{folder}/clusters.metrics.pqt", formats.pqt(metrics))


def _templates(rng: np.random.Generator, spikes: signals.Spikes) -> NDArray[np.float32]:
    """Mean waveforms; shape (clusters, samples, channels around the largest)."""
    time = np.arange(82)
    width = rng.uniform(3, 6, (len(spikes.cluster_amps_v), 1))
    wave = -np.exp(-0.5 * ((time - 30) / width) ** 2) + 0.35 * np.exp(-0.5 * ((time - 44) / (2 * width)) ** 2)
    spread = np.exp(-0.5 * (np.arange(-4, 4) / 2) ** 2)
    waveforms = wave[:, :, None] * spread * spikes.cluster_amps_v[:, None, None]
    return waveforms.astype(np.float32)


def _channel_files(probe_folder: str, folder: str) -> Iterator[StoredFile]:
    site = np.arange(N_SITES)
    places = np.column_stack([np.array([43, 11, 59, 27])[site % 4], 20 * (site // 2 + 1)]).astype(np.float64)
    yield StoredFile(f"{folder}/channels.localCoordinates.npy", formats.npy(places))
    yield StoredFile(f"{folder}/channels.rawInd.npy", formats.npy(site))
    regions = {
        "ccf_ap": (-2000 - places[:, 1] * 0.1).round(1).tolist(),
        "ccf_dv": (-100 - places[:, 1]).round(1).tolist(),
        "ccf_lr": (-2243 + places[:, 0]).round(1).tolist(),
        "allen_acronym": [REGIONS[each * len(REGIONS) // N_SITES] for each in reversed(range(N_SITES))],
    }
    yield StoredFile(f"{folder}/channels.brainLocation.tsv", formats.delimited(regions, "\t"))
    yield StoredFile(f"{probe_folder}/electrodeSites.localCoordinates.npy", formats.npy(places))


def _recording_files(seed: int, plan: Plan, number: int, probe: str) -> Iterator[StoredFile | VirtualFile]:
    stem = f"raw_ephys_data/{probe}/_spikeglx_ephysData_g0_t0.imec{number}"
    own_seed = int(np.random.SeedSequence([seed, plan.session.eid.int, number]).generate_state(1)[0])
    if plan.large and number == 0:
        recording = raw.describe_large(own_seed)
        yield VirtualFile(f"{stem}.ap.cbin", own_seed, recording.size_bytes, recording.md5)
    else:
        content, recording = raw.make_small(own_seed, SMALL_SAMPLES, chunk_samples=300)
        yield StoredFile(f"{stem}.ap.cbin", content)
    yield StoredFile(f"{stem}.ap.ch", formats.text_json(recording.companion))
    yield StoredFile(f"{stem}.ap.meta", formats.spikeglx_meta(recording, 641_251_000 + own_seed % 1000))
    sync_s = np.arange(0, recording.n_samples / raw.SAMPLE_RATE_HZ, 0.5)
    yield StoredFile(f"{stem}.sync.npy", formats.npy(np.column_stack([sync_s * raw.SAMPLE_RATE_HZ, sync_s])))
