"""The conformance kit: one suite of situations that every connector has to come through.

`situations` lists them, `party` says what is put to the proof, `running` plays them, `cases` holds how. Each
run is a real connector and vault around the recipient under test, which speaks HTTP to its stand-in through
a tap that sees every byte; an oracle that shares no code with the connector says what must stand in the end.
"""

from processors.conformance.party import Asks, Later, Party, Refusal, Stand
from processors.conformance.running import Result, conform, play
from processors.conformance.situations import IDS, SITUATIONS

__all__ = ["IDS", "SITUATIONS", "Asks", "Later", "Party", "Refusal", "Result", "Stand", "conform", "play"]
