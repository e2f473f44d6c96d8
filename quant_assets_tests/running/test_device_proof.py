"""Real daemon, code server and runs over pretended devices, each of them killed once: none is shared, none is lost."""

from pathlib import Path

import pytest

from quant_assets_tests.running.device_proof import Proof

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

#: In this order: the training over all devices must not be passed by the last one.
WANTED = [
    *(("single_checkpoint", sector) for sector in ("energy", "materials")),
    ("pair_checkpoint", "it"),
    ("all_checkpoint", "it"),
    ("single_checkpoint", "re"),
]


def test_devices_are_neither_shared_nor_lost_while_daemon_server_and_run_are_killed(tmp_path: Path) -> None:
    proof = Proof(tmp_path, 2, WANTED)
    with proof.running():
        proof.request(proof.instance, proof.wanted)
        proof.fill(2)
        killed = proof.kill_worker()
        proof.kill_daemon()
        lost = proof.kill_server()
        proof.recover(
            "run, daemon and code server killed", lambda: not proof.holds(killed, *lost) and proof.held() == 2
        )
        proof.finish()
        figures = proof.check()
    assert figures["most devices at once"] == 2
    assert figures["trainings begun"] >= len(WANTED) + 2, proof.table()
