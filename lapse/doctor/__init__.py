"""`lapse doctor`: all that must be well, looked at one by one; a finding says what, where and what to do."""

from lapse.doctor.examining import CHECKS, examine
from lapse.doctor.finding import Finding
from lapse.doctor.sheet import sheet

__all__ = ["CHECKS", "Finding", "examine", "sheet"]
