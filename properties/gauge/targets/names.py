"""Names: which keywords of a factory stand for which hyperparameters of a rule (`--rename`)."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, Self

from stepgauge.properties.gauge.errors import UsageError
from stepgauge.reference import Rule

# What others call the hyperparameters, tried in this order; a tuple names the items of a tuple.
SYNONYMS: Mapping[str, Sequence[str | tuple[str, ...]]] = {
    "lr": ("learning_rate", "learning_rate_init", "learn_rate", "step_size", "alpha"),
    "betas": (("beta1", "beta2"), ("beta_1", "beta_2"), ("b1", "b2")),
    "eps": ("epsilon",),
    "weight_decay": ("wd", "L2", "l2"),
    "alpha": ("rho", "decay"),
    "decoupled": ("weight_decouple", "decouple", "decoupled_decay"),
    "momentum": ("mu",),
}
MODEL = "model"  # the keyword under which an optimizer that looks at layers is given the network; --rename has others


class KeywordNames:
    """The names of a target for the hyperparameters of its rule.

    `renames` gives theirs for ours, `betas.0` and so on for the items of a tuple that they split; all other names are
    shared, but for common synonyms that `theirs` has (`mapped`). What `theirs` lists may be renamed
    to, and anything if the target `is_open`: if it passes keywords on.

    Raises:
        UsageError: a rename is of what the rule does not have, to what the target does not have, or of half a tuple.
    """

    def __init__(
        self,
        target: str,
        rule: str,
        record: type[Rule],
        renames: Mapping[str, str],
        theirs: Iterable[str],
        *,
        is_open: bool = False,
    ) -> None:
        self.target, self.rule, self.record, self.renames = target, rule, record, dict(renames)
        listed = list(theirs)
        self._check(listed, is_open)
        self.mapped = self._mapped(set(listed))
        self.renames |= self.mapped

    def within(self, keys: Collection[str]) -> Self:
        """The names among other keys, such as those of `param_groups`: theirs if they are there, ours, or a synonym.

        A synonym only of what they rename: who says `betas` when it is made is given `betas` in a group.
        """
        other = copy(self)
        there = set(keys)
        kept = {name for name in self.record.hyperparameter_names() if self.keywords(name) <= there}
        other.renames = {our: their for our, their in self.renames.items() if our.partition(".")[0] in kept}
        renamed = {our.partition(".")[0] for our in self.renames}
        synonyms = {our: their for our, their in other._mapped(there).items() if our.partition(".")[0] in renamed}
        found = kept | {our.partition(".")[0] for our in synonyms} | there
        lost = {our: their for our, their in self.renames.items() if our.partition(".")[0] not in found}
        other.renames |= synonyms | lost
        return other

    def __getitem__(self, name: str) -> str:
        """Their name for ours, which they do not split."""
        return self.renames.get(name, name)

    @property
    def model(self) -> str | None:
        """Their keyword for the network around the parameters; None where the rule does not look at layers."""
        return self[MODEL] if self.record.sees_layers else None

    @property
    def shared(self) -> list[str]:
        """The hyperparameters of the rule whose name is not theirs for something else."""
        claimed = self.renames.values() - self.renames.keys()
        return [name for name in self.record.hyperparameter_names() if name not in claimed]

    def keywords(self, name: str) -> set[str]:
        """The keywords that carry our hyperparameter: one, or one for each item of a tuple."""
        return {their for _, their in self._parts(name)} or {self[name]}

    def translate(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Our hyperparameters under their names."""
        translated: dict[str, Any] = {}
        for name, value in hyperparameters.items():
            parts = self._parts(name)
            for our, their in parts:
                translated[their] = value[int(our.rpartition(".")[2])]
            if not parts:
                translated[self[name]] = value
        return translated

    def value(self, name: str, known: Mapping[str, Any]) -> Any:
        """The value of our hyperparameter among theirs."""
        parts = self._parts(name)
        return tuple(known[their] for _, their in parts) if parts else known[self[name]]

    def require_whole(self, keywords: Mapping[str, Any]) -> None:
        """Refuse keywords that give a part of a split tuple.

        Raises:
            UsageError: see there.
        """
        for name in self.shared:
            missing = self.keywords(name) - keywords.keys()
            if missing and missing != self.keywords(name):
                raise UsageError(
                    f"{self.target} fixes a part of {name}: give {', '.join(sorted(missing))}, too, or none"
                )

    def _parts(self, name: str) -> list[tuple[str, str]]:
        """For a hyperparameter that they split: our `name.0`, `name.1`, ... and their names, in order."""
        return sorted((our, their) for our, their in self.renames.items() if our.startswith(f"{name}."))

    def _mapped(self, theirs: set[str]) -> dict[str, str]:
        """Synonyms among their names, for what neither goes by our name nor is renamed."""
        renamed = {our.partition(".")[0] for our in self.renames}
        free = theirs - set(self.renames.values()) - set(self.record.hyperparameter_names())
        found: dict[str, str] = {}
        for name in self.record.hyperparameter_names():
            known = SYNONYMS.get(name, ()) if name not in renamed | theirs else ()
            for synonym in known:
                if isinstance(synonym, str) and synonym in free:
                    found[name] = synonym
                    break
                if isinstance(synonym, tuple) and free.issuperset(synonym):
                    found |= {f"{name}.{k}": their for k, their in enumerate(synonym)}
                    break
        return found

    def _check(self, theirs: list[str], is_open: bool) -> None:
        names = self.record.hyperparameter_names()
        for our, their in self.renames.items():
            if our.partition(".")[0] not in names and not (our == MODEL and self.record.sees_layers):
                raise UsageError(f"--rename {our}={their}: {self.rule} has no {our}; it has {', '.join(names)}")
            if their not in theirs and not is_open:
                raise UsageError(
                    f"--rename {our}={their}: {self.target} takes no {their}; it takes {', '.join(theirs)}"
                )
            if twins := [o for o, t in self.renames.items() if t == their and o != our]:
                raise UsageError(f"--rename {our}={their}: {twins[0]} is renamed to that, too")
        for name in {our.partition(".")[0] for our in self.renames if "." in our}:
            items = list(self._items(name))
            if sorted(our for our, _ in self._parts(name)) != items:
                all_of_them = ", ".join(items) or "of which it has none"
                raise UsageError(f"--rename of {name}: give all its items, {all_of_them}")

    def _items(self, name: str) -> Iterator[str]:
        """The names of the items of a tuple."""
        default = self.record.defaults().get(name)
        for k in range(len(default) if isinstance(default, tuple) else 0):
            yield f"{name}.{k}"
