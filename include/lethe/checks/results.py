"""The results of expectations as they travel between tasks: no row values, and no Great Expectations import."""

from __future__ import annotations

from pydantic import Field

from lethe.stores.base import Value


class ExpectationResult(Value):
    """One expectation of a suite."""

    id: str
    type: str = Field(description="Great Expectations' name, such as expect_column_values_to_be_unique.")
    column: str | None = None
    success: bool
    asks: bool = Field(default=False, description="A failure asks a person instead of stopping (limits).")
    unexpected: int | None = Field(default=None, description="How many records broke it, where it counts them.")
    description: str = ""


class Validation(Value):
    """What a suite said about a dataset."""

    suite: str
    results: tuple[ExpectationResult, ...] = ()

    @property
    def success(self) -> bool:
        """Whether every expectation held, save those that only ask."""
        return all(result.success or result.asks for result in self.results)

    @property
    def failures(self) -> tuple[ExpectationResult, ...]:
        """The expectations that stop the dataset."""
        return tuple(result for result in self.results if not result.success and not result.asks)

    @property
    def failed(self) -> str:
        """Them, in words; empty where there are none."""
        return "; ".join(f"{failure.type} ({failure.id})" for failure in self.failures)
