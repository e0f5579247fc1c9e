"""Owns the file names of made-up sessions: collections and datasets as the International Brain Lab's sessions have."""

from dataclasses import dataclass


def _names(text: str) -> list[str]:
    return text.split()


_BEHAVIOUR = _names("""
_ibl_trials.table.pqt _ibl_trials.goCueTrigger_times.npy _ibl_trials.stimOff_times.npy _ibl_trials.quiescencePeriod.npy
_ibl_wheel.position.npy _ibl_wheel.timestamps.npy _ibl_wheelMoves.intervals.npy _ibl_wheelMoves.peakAmplitude.npy
licks.times.npy _ibl_leftCamera.dlc.pqt _ibl_leftCamera.times.npy _ibl_leftCamera.features.pqt
_ibl_rightCamera.dlc.pqt _ibl_rightCamera.times.npy _ibl_bodyCamera.dlc.pqt _ibl_bodyCamera.times.npy
leftCamera.ROIMotionEnergy.npy rightCamera.ROIMotionEnergy.npy bodyCamera.ROIMotionEnergy.npy
""")
_RAW_BEHAVIOUR = _names("""
_iblrig_taskData.raw.jsonable _iblrig_taskSettings.raw.json _iblrig_encoderEvents.raw.ssv
_iblrig_encoderPositions.raw.ssv _iblrig_encoderTrialInfo.raw.ssv _iblrig_ambientSensorData.raw.jsonable
_iblrig_micData.raw.flac _iblrig_stimPositionScreen.raw.csv
""")
_RAW_VIDEO = _names("""
_iblrig_leftCamera.raw.mp4 _iblrig_rightCamera.raw.mp4 _iblrig_bodyCamera.raw.mp4
_iblrig_leftCamera.frameData.bin _iblrig_rightCamera.frameData.bin _iblrig_bodyCamera.frameData.bin
""")
_RAW_EPHYS = _names("""
_spikeglx_ephysData_g0_t0.nidq.cbin _spikeglx_ephysData_g0_t0.nidq.ch _spikeglx_ephysData_g0_t0.nidq.meta
_spikeglx_sync.times.npy _spikeglx_sync.polarities.npy _spikeglx_sync.channels.npy
""")
_RAW_PROBE = _names("""
_spikeglx_ephysData_g0_t0.imec0.ap.cbin _spikeglx_ephysData_g0_t0.imec0.ap.ch _spikeglx_ephysData_g0_t0.imec0.ap.meta
_spikeglx_ephysData_g0_t0.imec0.lf.cbin _spikeglx_ephysData_g0_t0.imec0.lf.ch _spikeglx_ephysData_g0_t0.imec0.lf.meta
_spikeglx_ephysData_g0_t0.imec0.timestamps.npy _iblqc_ephysTimeRmsAP.rms.npy _iblqc_ephysSpectralDensityAP.power.npy
""")
_PROBE = _names(
    "electrodeSites.localCoordinates.npy electrodeSites.mlapdv.npy electrodeSites.brainLocationIds_ccf_2017.npy"
)
_SORTED = _names("""
spikes.times.npy spikes.clusters.npy spikes.depths.npy spikes.amps.npy spikes.templates.npy spikes.samples.npy
clusters.channels.npy clusters.depths.npy clusters.metrics.pqt clusters.peakToTrough.npy clusters.uuids.csv
clusters.waveforms.npy clusters.waveformsChannels.npy clusters.amps.npy channels.rawInd.npy
channels.localCoordinates.npy templates.waveforms.npy templates.amps.npy drift.times.npy drift.um.npy
""")
_REVISED = _names("spikes.times.npy spikes.clusters.npy spikes.depths.npy spikes.amps.npy clusters.metrics.pqt")


@dataclass(frozen=True, slots=True)
class Collection:
    """A folder of a session: which part of the sessions has it, and how likely each of its files then is."""

    path: str
    names: tuple[str, ...]
    in_sessions: float
    in_collection: float


def _of(path: str, names: list[str], in_sessions: float, in_collection: float = 0.9) -> Collection:
    return Collection(path, tuple(names), in_sessions, in_collection)


def real() -> tuple[Collection, ...]:
    """Some 7 folders and 50 files a session."""
    probes = [
        collection
        for probe, part in (("probe00", 0.75), ("probe01", 0.4))
        for collection in (
            _of(f"alf/{probe}", _PROBE, part),
            _of(f"alf/{probe}/pykilosort", _SORTED, part),
            _of(f"alf/{probe}/pykilosort/#2023-01-01#", _REVISED, part * 0.1),
            _of(f"alf/{probe}/pykilosort/#2024-05-06#", _REVISED, part * 0.3),
            _of(f"raw_ephys_data/{probe}", _RAW_PROBE, part),
        )
    ]
    return (
        _of("alf", _BEHAVIOUR, 1.0),
        _of("alf/#2025-03-03#", _BEHAVIOUR[:1], 0.2),
        _of("raw_behavior_data", _RAW_BEHAVIOUR, 1.0),
        _of("raw_video_data", _RAW_VIDEO, 0.8),
        _of("raw_ephys_data", _RAW_EPHYS, 0.75),
        _of("snapshot", [f"figure{n:03d}.overview.png" for n in range(200)], 0.1, 0.02),
        *probes,
    )


def flat() -> tuple[Collection, ...]:
    """All files in one folder, 500 a session."""
    return (_of("alf", [f"object{n:03d}.attribute.npy" for n in range(500)], 1.0, 1.0),)


SHAPES = {"real": real, "flat": flat}
