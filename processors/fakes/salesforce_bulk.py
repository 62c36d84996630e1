"""Bulk API 2.0 of the stand-in for Salesforce: hard deletes, a state on with every look at a job."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

from processors.fakes.salesforce_rows import Rows, problem

_ON = {"UploadComplete": "InProgress", "InProgress": "JobComplete"}


class Bulk:
    """The ingest jobs of one org."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.permitted = True
        """Whether our user has "Bulk API Hard Delete"."""
        self.takes_binned = True
        """Whether a record that lies in the recycle bin is taken: not documented, so both are played."""
        self.frozen = False
        """Whether jobs stand still."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self._uploads: dict[str, list[str]] = {}
        self._failed: dict[str, list[tuple[str, str]]] = {}
        self._count = itertools.count(1)

    def route(self, router: web.UrlDispatcher, root: str, guarded: Callable[[Any], Any]) -> None:
        """Add the addresses."""
        base = f"{root}/jobs/ingest"
        router.add_post(base, guarded(self._create))
        router.add_put(f"{base}/{{id}}/batches", guarded(self._upload))
        router.add_patch(f"{base}/{{id}}", guarded(self._close))
        router.add_get(f"{base}/{{id}}", guarded(self._look))
        router.add_get(f"{base}/{{id}}/failedResults", guarded(self._failures))

    async def _create(self, request: web.Request) -> web.Response:
        asked = json.loads(await request.read())
        if asked.get("operation") != "hardDelete" or asked.get("object") not in self._rows.kinds:
            return problem(400, "INVALIDJOB", "Unsupported operation or object")
        if not self.permitted:
            text = "hardDelete operation requires special user profile permission"
            return problem(400, "FEATURENOTENABLED", text)
        name = f"7505e{next(self._count):010d}AAA"
        self.jobs[name] = {"id": name, "object": asked["object"], "operation": "hardDelete", "state": "Open"}
        return web.json_response(self.jobs[name])

    async def _upload(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        lines = (await request.text()).split("\n")
        if job is None or job["state"] != "Open" or request.content_type != "text/csv" or lines[0] != "Id":
            return problem(400, "INVALIDJOBSTATE", "not now, or not this")
        self._uploads[job["id"]] = [line for line in lines[1:] if line]
        return web.Response(status=201)

    async def _close(self, request: web.Request) -> web.Response:
        job, asked = self.jobs.get(request.match_info["id"]), json.loads(await request.read())
        if job is None:
            return problem(404, "NOT_FOUND", "no such job")
        if job["state"] != "Open" or asked != {"state": "UploadComplete"}:
            return problem(400, "INVALIDJOBSTATE", "not now")
        job["state"] = "UploadComplete"
        return web.json_response(job)

    async def _look(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["id"])
        if job is None:
            return problem(404, "NOT_FOUND", "no such job")
        if self.frozen:
            return web.json_response(job)
        if job["state"] == "InProgress":
            self._do(job)
        job["state"] = _ON.get(job["state"], job["state"])
        return web.json_response(job)

    def _do(self, job: dict[str, Any]) -> None:
        failed = self._failed[job["id"]] = []
        for name in self._uploads.get(job["id"], []):
            kind = job["object"]
            if name in self._rows.bin and self.takes_binned:
                del self._rows.bin[name]
            elif self._rows.get(kind, name) is not None and name not in self._rows.with_cases:
                del self._rows.rows[kind][name]
            else:
                kept = self._rows.get(kind, name) is not None
                failed.append((name, f"{'DELETE_FAILED' if kept else 'ENTITY_IS_DELETED'}:not deleted:--"))
        job["numberRecordsProcessed"] = len(self._uploads.get(job["id"], []))
        job["numberRecordsFailed"] = len(failed)

    async def _failures(self, request: web.Request) -> web.Response:
        rows = self._failed.get(request.match_info["id"], [])
        text = "\n".join(['"sf__Id","sf__Error",Id', *(f'"","{why}",{name}' for name, why in rows), ""])
        return web.Response(text=text, content_type="text/csv")
