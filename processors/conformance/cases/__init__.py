"""The situations, played: `CASES` has one for every id of `processors.conformance.situations`."""

from __future__ import annotations

from collections.abc import Mapping

from processors.conformance.cases import (
    coming,
    ending,
    failing,
    leaving,
    racing,
    restarting,
    telling,
    waiting,
)
from processors.conformance.stage import Case

CASES: Mapping[str, Case] = {
    "only_granted": leaving.only_granted,
    "redelivery": coming.redelivery,
    "out_of_order": coming.out_of_order,
    "lapse_before": ending.lapse_before,
    "lapse_between": ending.lapse_between,
    "lapse_after": ending.lapse_after,
    "periods": ending.periods,
    "slow_withdrawal": racing.withdrawal,
    "slow_erasure": racing.erasure,
    "slow_recall": racing.recall,
    "lost_answer": failing.lost_answer,
    "storm": failing.storm,
    "storm_told": failing.storm_told,
    "quota": failing.quota,
    "login_expired": failing.login_expired,
    "partial": failing.partial,
    "malformed": failing.malformed,
    "claims_deletion": telling.claims_deletion,
    "suspended": waiting.suspended,
    "ends_later": waiting.ends_later,
    "forgotten": telling.forgotten,
    "restart": restarting.restart,
    "receipts": telling.receipts,
    "silent": leaving.silent,
}
