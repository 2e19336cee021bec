import pwd

from etils import epath

from facedis_jax.file_owners import allow_unknown_owners


def test_a_file_whose_owner_has_no_name_has_a_size(tmp_path, monkeypatch):
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    file = tmp_path / "file"
    file.write_bytes(b"123")
    named = epath.Path(file).stat()
    allow_unknown_owners()
    allow_unknown_owners()
    assert epath.Path(file).stat() == named
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    found = epath.Path(file).stat()
    assert (found.length, found.mode, found.owner) == (3, named.mode, str(file.stat().st_uid))
