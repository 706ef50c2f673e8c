"""What `--policy` takes.

A new policy is one file, one line here, one in `options.POLICIES`, one in docs/policies.md.
"""

from secateur.compiler.policies.children import Children, ChildrenPublished
from secateur.compiler.policies.everything import Everything, Filters, Layers
from secateur.compiler.policies.growth import Growth
from secateur.compiler.policies.mixture import Mixture
from secateur.compiler.policies.policy import Policy
from secateur.compiler.policies.tickets import Rewind, Tickets

POLICIES: dict[str, type[Policy]] = {
    "everything": Everything,
    "layers": Layers,
    "filters": Filters,
    "children": Children,
    "children-published": ChildrenPublished,
    "mixture": Mixture,
    "tickets": Tickets,
    "rewind": Rewind,
    "growth": Growth,
}
