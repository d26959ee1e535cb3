"""The names and the tags of everything that a lab creates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chatlab.errors import NotOurs
from chatlab.sessions import partitions
from chatlab.settings import Settings

STAGE = "production"
ROUTES = {"connect": "$connect", "default": "$default", "disconnect": "$disconnect"}

Tags = Mapping[str, str] | Sequence[Mapping[str, str]]
"""Tags as the services return them: a dict, or a list of `{"Key": ..., "Value": ...}`."""


@dataclass(frozen=True)
class Names(Settings):
    """A lab's settings, and the names and tags that follow from them."""

    @property
    def settings(self) -> Settings:
        """The settings alone."""
        return Settings(self.target, self.name, self.region, self.profile)

    @property
    def partition(self) -> str:
        """The part of AWS that the Region belongs to, as ARNs name it: aws, aws-cn, aws-us-gov, ..."""
        return partitions()[self.region]

    # --- tags ---------------------------------------------------------------------------------------------------

    @property
    def tags(self) -> dict[str, str]:
        """The tags that everything carries, as a dict. Some services want `tag_list` instead.

        The Region is among them because IAM knows none: two labs of one name share its list of roles.
        """
        return {"chatlab": self.name, "chatlab-region": self.region}

    @property
    def tag_list(self) -> list[dict[str, str]]:
        """The same as a list of `{"Key": ..., "Value": ...}`."""
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]

    def owns(self, tags: Tags) -> bool:
        """Whether something with these tags is this lab's own."""
        if not isinstance(tags, Mapping):
            tags = {tag["Key"]: tag["Value"] for tag in tags}
        return self.tags.items() <= tags.items()

    def require_own(self, thing: str, tags: Tags) -> None:
        """Raises NotOurs if what was found under the lab's name is not the lab's: call it before you change anything.

        `thing` is what to call it, as in "a table chat", and `tags` are its own. What was just created may not have its
        tags yet: wait for those first, since something without tags is somebody else's.
        """
        if not self.owns(tags):
            missing = " and ".join(f"{key}={value}" for key, value in self.tags.items())
            raise NotOurs(
                f"There is {thing} already, and it is not this lab's: it lacks the tags {missing}. "
                "Nothing of it was changed. Choose another name in notebook 00."
            )

    # --- names --------------------------------------------------------------------------------------------------

    @property
    def table(self) -> str:
        """The DynamoDB table of connection ids."""
        return self.name

    @property
    def role(self) -> str:
        """The IAM role of the three functions. IAM knows no Regions, so the name has the Region in it; 64 at most."""
        return f"{self.name}-lambda-{self.region}"

    @property
    def functions(self) -> dict[str, str]:
        """The Lambda functions' names, by what they do: connect, default, disconnect."""
        return {part: f"{self.name}-{part}" for part in ROUTES}

    @property
    def log_groups(self) -> dict[str, str]:
        """The functions' log groups, by what they do."""
        return {part: f"/aws/lambda/{function}" for part, function in self.functions.items()}

    @property
    def api(self) -> str:
        """The WebSocket API's name. AWS makes its id: see `Lab.find_api`."""
        return self.name

    @property
    def switch(self) -> str:
        """The group of EventBridge Scheduler's schedule that removes the stage after some hours."""
        return f"{self.name}-switch"

    @property
    def switch_role(self) -> str:
        """The IAM role of that schedule."""
        return f"{self.switch}-{self.region}"

    @property
    def alarm(self) -> str:
        """The budget with an alarm by e-mail. AWS Budgets knows no Regions, so the name has the Region in it."""
        return f"{self.name}-{self.region}"
