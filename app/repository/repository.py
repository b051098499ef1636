"""The model repository: the loaded versions, and how they follow the store."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from app.batching.shared_cpu import SharedCpu
from app.contract.deployment import Deployment, Deployments
from app.errors import BonsaiError, InvalidInput, LoadFailed, ManifestInvalid, NotFound, NotReady, clip
from app.repository.loading import load
from app.repository.model import Model
from app.repository.store import Fingerprint, Key, Listing, ModelStore, VersionFolder, version_number
from app.runtime.graph_cache import GraphCache
from app.telemetry.metrics import Metrics

logger = logging.getLogger("bonsai.repository")


class State(StrEnum):
    """Where a version is on its way to answering requests."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"


@dataclass(slots=True)
class Slot:
    """What the repository knows of one version. A ready one has a model, a failed one a reason."""

    fingerprint: Fingerprint
    deployment: Deployment
    state: State = State.LOADING
    reason: str = ""
    model: Model | None = None


class Repository:
    """Loaded versions by name. All state belongs to the event loop's thread; loading happens beside it."""

    def __init__(
        self, store: ModelStore, read_deployments: Callable[[], Deployments], cache: GraphCache, metrics: Metrics
    ) -> None:
        """Raises ManifestInvalid where deployments.toml is wrong from the start."""
        self.settled = asyncio.Event()
        """Set once the first pass over the store has ended."""
        self._deployments = read_deployments()
        self._read_deployments = read_deployments
        self._was_blank = self._deployments.is_blank
        self._store = store
        self._cache = cache
        self._metrics = metrics
        self._cpu = SharedCpu(time.monotonic, time.thread_time)
        self._slots: dict[str, dict[int, Slot]] = {}
        metrics.states.watch(lambda: [(name, str(version), slot.state) for (name, version), slot in self._each()])
        self._problems: list[str] = []
        self._resolved: dict[tuple[str | None, str | None], Model] = {}
        """What requests have asked for of late, until anything changes."""
        self._closing: set[asyncio.Task[None]] = set()
        self._pass = asyncio.Lock()
        """Held by whoever changes which versions there are."""
        self._unloaded: set[str] = set()
        """Models that were unloaded on request: they stay so, whatever comes into the store."""

    def acquire(self, name: str | None, version: str | None) -> Model:
        """The model that answers a request: by name and version, or the defaults where they are None.

        Raises NotFound, NotReady with the reason, or InvalidInput where a name is needed.
        """
        model = self._resolved.get((name, version))
        if model is None:
            model = self._resolved[name, version] = self._resolve(name, version)
        return model

    def _resolve(self, name: str | None, version: str | None) -> Model:
        name = name if name is not None else self._default_name()
        versions = self.versions(name)
        if version is None:
            return self._default_version(name, versions)
        number = version_number(version)
        if number not in versions:
            raise NotFound(f"model '{name}' has no version {number}; it has {', '.join(map(str, sorted(versions)))}")
        return _ready(name, number, versions[number])

    def versions(self, name: str) -> dict[int, Slot]:
        """Every version of a model, whatever its state. Raises NotFound; NotReady before the first pass is over."""
        if name in self._slots:
            return self._slots[name]
        if not self.settled.is_set():
            raise NotReady("the model repository is being loaded")
        raise NotFound(f"no model '{clip(name, 128)}'")

    def names(self) -> list[str]:
        return sorted(self._slots)

    @property
    def ready(self) -> bool:
        """The first pass has ended, and at least one version answers."""
        return self.settled.is_set() and any(slot.state is State.READY for _, slot in self._each())

    async def refresh(self) -> None:
        """One pass: loads what is new or changed in the store, unloads what has gone."""
        async with self._pass:
            await self._follow()

    async def load(self, name: str) -> None:
        """Looks at the store and loads what is unloaded, failed, new or changed of a model.

        Raises NotFound, NotReady where its files have changed just now, or LoadFailed: which versions, and why.
        """
        async with self._pass:
            self._unloaded.discard(name)
            for slot in self._slots.get(name, {}).values():
                if slot.model is None:
                    slot.state, slot.reason = State.LOADING, ""
            listing = await self._follow()
        if listing.may_change(name):
            raise NotReady(f"model '{clip(name, 128)}' has changed just now; it is loaded once it stands still")
        failed = {number: slot for number, slot in self.versions(name).items() if slot.state is State.FAILED}
        if failed:
            raise LoadFailed("; ".join(f"version {number}: {slot.reason}" for number, slot in failed.items()))

    async def unload(self, name: str) -> None:
        """Unloads every version of a model, until `load`; what was submitted is answered first. Raises NotFound."""
        async with self._pass:
            versions = self.versions(name)
            self._unloaded.add(name)
            for number, slot in versions.items():
                versions[number] = Slot(slot.fingerprint, slot.deployment, State.UNLOADED)
                self._show(slot.model, None)
                self._retire(slot.model)
        logger.info("model unloaded on request", extra={"fields": {"model": name}})

    async def _follow(self) -> Listing:
        """Makes the versions be those of the store. Returns what is there."""
        listing = await asyncio.to_thread(self._store.list)
        self._report(listing.problems + self._follow_deployments())
        for key in [key for key, _ in self._each() if not listing.may_have(key)]:
            self._unload(key)
        for key, reason in listing.refused.items():
            self._refuse(key, reason)
        due = {key: folder for key, folder in listing.versions.items() if self._is_due(key, folder)}
        for (name, version), folder in due.items():
            state = State.UNLOADED if name in self._unloaded else State.LOADING
            waiting = Slot(folder.fingerprint, self._deployments.of(name), state)
            self._slots.setdefault(name, {}).setdefault(version, waiting)
        self._resolved.clear()
        for key, folder in due.items():
            if key[0] not in self._unloaded:
                await self._load(key, folder)
        self.settled.set()
        return listing

    async def close(self) -> None:
        """Unloads everything; what was submitted is answered first."""
        for key, _ in list(self._each()):
            self._unload(key)
        if self._closing:
            await asyncio.wait(self._closing)

    def _follow_deployments(self) -> list[str]:
        """Reads deployments.toml again. A broken one changes nothing, a blank one only where the look before found the
        same. Returns the problems to report."""
        was_blank, self._was_blank = self._was_blank, False
        try:
            read = self._read_deployments()
        except ManifestInvalid as error:
            return [f"{error}; the last good one stays in force"]
        self._was_blank = read.is_blank
        if was_blank or not read.is_blank:
            self._deployments = read
        problems = []
        for (name, version), slot in self._each():
            try:
                if slot.model is not None:
                    slot.model.apply(self._deployments.of(name))
            except Exception as error:  # noqa: BLE001 - boundary: one model that cannot change must not stop the others
                problems.append(f"{name} version {version}: its deployment cannot be applied: {error}")
        return problems

    def _is_due(self, key: Key, folder: VersionFolder) -> bool:
        slot = self._slots.get(key[0], {}).get(key[1])
        return (
            slot is None
            or slot.state is State.LOADING  # a pass before this one did not come to it
            or slot.fingerprint != folder.fingerprint
            or self._deployments.of(key[0]).reloads(slot.deployment)
        )

    async def _load(self, key: Key, folder: VersionFolder) -> None:
        """Loads a version; one that was there before answers until the new one can."""
        self._replace(key, await self._attempt(folder, self._deployments.of(key[0])))

    def _refuse(self, key: Key, reason: str) -> None:
        """A version that must not be loaded as it lies there has failed. Why is in the problems, which are logged."""
        slot = self._slots.get(key[0], {}).get(key[1])
        if key[0] not in self._unloaded and (slot is None or slot.reason != reason):
            self._replace(key, Slot((), self._deployments.of(key[0]), State.FAILED, reason))

    def _replace(self, key: Key, slot: Slot) -> None:
        name, version = key
        before = self._slots.setdefault(name, {}).get(version)
        self._slots[name][version] = slot
        self._metrics.loads.labels(name, str(version), slot.state).inc()
        model = None if before is None else before.model
        self._show(model, slot.model)
        self._retire(model)

    async def _attempt(self, folder: VersionFolder, deployment: Deployment) -> Slot:
        started = time.monotonic()
        slot = Slot(folder.fingerprint, deployment)
        fields: dict[str, object] = {"model": folder.name, "version": folder.version}
        try:
            loaded = await asyncio.to_thread(load, folder, deployment, self._cache)
            slot.model = Model(folder, loaded, deployment, self._metrics, self._cpu, asyncio.get_running_loop())
        except Exception as error:  # boundary: one version that cannot be loaded must not stop the others
            slot.state = State.FAILED
            slot.reason = str(error) if isinstance(error, BonsaiError) else "an unexpected fault; see the log"
            expected = isinstance(error, BonsaiError) and error.__cause__ is None
            logger.error("load failed: %s", slot.reason, extra={"fields": fields}, exc_info=None if expected else error)
            return slot
        slot.state = State.READY
        fields |= {
            "variant": loaded.proven.variant,
            "provider": loaded.proven.session.provider,
            "batchable": loaded.proven.batchable,
            "instances": slot.model.instances,
            "threads": loaded.profile.threads,
            "disturbed": loaded.profile.disturbed,
            "seconds": round(time.monotonic() - started, 3),
        }
        logger.info("model ready", extra={"fields": fields})
        return slot

    def _unload(self, key: Key) -> None:
        name, version = key
        slot = self._slots[name].pop(version)
        if not self._slots[name]:
            del self._slots[name]
            self._unloaded.discard(name)
        self._show(slot.model, None)
        self._retire(slot.model)
        logger.info("model unloaded", extra={"fields": {"model": name, "version": version}})

    def _retire(self, model: Model | None) -> None:
        """Closes a model beside the pass: a run that takes long, or for ever, must not hold up the other models."""
        if model is not None:
            closing = asyncio.create_task(model.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _show(self, before: Model | None, now: Model | None) -> None:
        """Moves the readiness metric, and what requests get, from one model to another."""
        self._resolved.clear()
        ready = self._metrics.model_ready
        if before is not None:
            ready.remove(before.served.name, str(before.served.version), before.served.provider)
        if now is not None:
            ready.labels(now.served.name, str(now.served.version), now.served.provider).set(1)

    def _report(self, problems: list[str]) -> None:
        """Logs what lies in the store and is no version, once for each change."""
        for problem in problems:
            if problem not in self._problems:
                logger.warning("model repository: %s", problem)
        self._problems = problems

    def _default_name(self) -> str:
        if self._deployments.default_model is not None:
            return self._deployments.default_model
        loaded = self._slots.keys() - self._unloaded
        if len(loaded) == 1:
            return loaded.pop()
        if not loaded:
            raise NotReady("no model is loaded")
        raise InvalidInput.field("model", expected=f"one of {', '.join(sorted(loaded))}", got="none")

    def _default_version(self, name: str, versions: dict[int, Slot]) -> Model:
        chosen = self._deployments.of(name).default_version
        if chosen is not None:
            if chosen not in versions:
                raise NotReady(f"model '{name}' is not ready: its default version {chosen} is not there")
            return _ready(name, chosen, versions[chosen])
        ready = [version for version, slot in versions.items() if slot.state is State.READY]
        best = max(ready, default=max(versions))
        return _ready(name, best, versions[best])

    def _each(self) -> Iterator[tuple[Key, Slot]]:
        return (((name, version), slot) for name, slots in self._slots.items() for version, slot in slots.items())


def _ready(name: str, version: int, slot: Slot) -> Model:
    if slot.model is None:
        raise NotReady(f"model '{name}' version {version} is not ready: {slot.reason or slot.state}")
    return slot.model
