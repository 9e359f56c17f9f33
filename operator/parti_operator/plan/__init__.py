"""From a look to what is to be done: pure, one small module per concern.

`plan` for a PartiCluster that can be carried out, `refuse` for one that cannot.
"""

from parti_operator.plan.planner import plan
from parti_operator.plan.refusal import refuse
from parti_operator.plan.values import Occurrence, Plan

__all__ = ["Occurrence", "Plan", "plan", "refuse"]
