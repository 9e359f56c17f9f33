"""Pods that do not run: the worst one's reason, and what a person can do about it. Pure.

Kubernetes' own words become the reason of the conditions `Ready` and `Degraded`, so that `kubectl
get particluster -o yaml` says what `kubectl get pods` says. What needs a person at once counts as
worse than what the next minute may cure.
"""

from __future__ import annotations

from dataclasses import dataclass

from parti_operator.observed import PodSeen, Trouble
from parti_operator.plan.look import Look

LISTED_MAX = 3  # in one message; the others are counted
CREATING_MS_MAX = 120_000  # the kubelet gives no reason while it waits for a volume or a network

# The gravest first; what is not named here comes before the last one.
_GRAVITY = (
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "CrashLoopBackOff",
)
_MILDEST = "Unschedulable"
_RUNS_AS_ROOT = "runAsNonRoot"  # in the kubelet's message
_ROOT_ADVICE = (
    "pods do not run as root by default; the image does, or names its user by a word. Set"
    " template.spec.securityContext.runAsUser to the user's number, or runAsNonRoot: false beside"
    " it to allow root"
)
_IMAGE_ADVICE = "check the name of the image, and template.spec.imagePullSecrets"
_ADVICE = {
    "CreateContainerConfigError": "a ConfigMap or Secret that the container names may be missing",
    "CreateContainerError": "check the container's command and volumes",
    "RunContainerError": "check the container's command",
    "InvalidImageName": _IMAGE_ADVICE,
    "ErrImageNeverPull": _IMAGE_ADVICE,
    "ImagePullBackOff": _IMAGE_ADVICE,
    "ContainerCreating": "a volume or an image is missing: kubectl describe pod {pod} says more",
    "CrashLoopBackOff": "its log says why: kubectl logs {pod} -c {container} --previous",
}


@dataclass(frozen=True, slots=True)
class FailingPod:
    """A pod that is wanted and does not run."""

    name: str
    trouble: Trouble

    @property
    def headline(self) -> str:
        """What it is, without words that change from one attempt to the next."""
        parts = (self.name, self.trouble.container, self.trouble.reason)
        return " ".join(part for part in parts if part)

    @property
    def text(self) -> str:
        """Everything for a person, what to do included."""
        said = (self.headline, self.trouble.message, self.advice)
        return ": ".join(part for part in said if part)

    @property
    def advice(self) -> str:
        trouble = self.trouble
        if _RUNS_AS_ROOT in trouble.message:
            return _ROOT_ADVICE
        advice = _ADVICE.get(trouble.reason, "")
        return advice.format(pod=self.name, container=trouble.container)


def failing_pods(look: Look) -> list[FailingPod]:
    """The worst first, then by ordinal."""
    found = [
        FailingPod(pod.name, trouble)
        for pod in look.desired_pods
        if not pod.deleting and (trouble := pod.trouble or _is_stuck(look, pod)) is not None
    ]
    return sorted(found, key=lambda each: _gravity(each.trouble))


def _is_stuck(look: Look, pod: PodSeen) -> Trouble | None:
    if not pod.creating_since or look.since_ms(pod.creating_since) < CREATING_MS_MAX:
        return None
    return Trouble("ContainerCreating", f"since {pod.creating_since}")


def listed(failing: list[FailingPod]) -> str:
    """A message about them all."""
    texts = [each.text for each in failing[:LISTED_MAX]]
    more = len(failing) - len(texts)
    return "; ".join([*texts, f"and {more} pods more"] if more else texts)


def _gravity(trouble: Trouble) -> int:
    if trouble.reason in _GRAVITY:
        return _GRAVITY.index(trouble.reason)
    return len(_GRAVITY) + (trouble.reason == _MILDEST)
