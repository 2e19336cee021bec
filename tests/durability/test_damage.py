import logging

from tests.durability.damage import damage_checkpoints


def test_damaged_checkpoints_give_way_to_the_one_before_and_never_to_wrong_numbers(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="facedis_jax"):
        outcomes = damage_checkpoints(tmp_path, 30)
    assert outcomes["wrong"] == outcomes["unread"] == 0
    assert outcomes["newest"] + outcomes["before"] == 30
    assert outcomes["before"] >= 20
    said = [record.getMessage() for record in caplog.records if record.name.startswith("facedis_jax")]
    assert sum("cannot read the checkpoint of step 30" in line for line in said) == outcomes["before"]
    assert not any("\n" in line for line in said)
