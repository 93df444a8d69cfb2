"""slurmdbd and its MariaDB, private to one cluster's folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from support.cluster.daemons import end, free_ports, listens, wait_until

_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurmdb
StoragePass=slurm
StorageLoc=slurm_acct_db
"""

_GRANT = (
    "CREATE DATABASE slurm_acct_db; CREATE USER 'slurmdb'@'localhost' IDENTIFIED BY 'slurm'; "
    "GRANT ALL ON slurm_acct_db.* TO 'slurmdb'@'localhost';"
)


@dataclass
class Accounting:
    """The accounting daemons of the cluster in `folder`."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    _mariadb: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def up(self) -> None:
        """Start both on an empty database."""
        self._start_database()
        conf = self.folder / "etc" / "slurmdbd.conf"
        conf.write_text(_CONF.format(folder=self.folder, host=socket.gethostname().partition(".")[0], port=self.port))
        conf.chmod(0o600)
        # slurmdbd.conf has no setting for the database's socket; libmariadb reads it from here.
        environment = {**os.environ, "SLURM_CONF": str(conf), "MYSQL_UNIX_PORT": str(self._socket)}
        subprocess.run(["slurmdbd"], env=environment, check=True, capture_output=True)
        wait_until(lambda: listens(self.port), "slurmdbd listens")

    def down(self) -> None:
        """End both."""
        end(self.folder / "run" / "slurmdbd.pid")
        if self._mariadb is not None:
            self._mariadb.terminate()
            self._mariadb.wait(300)

    def conf(self) -> str:
        """Return the lines of slurm.conf that point here."""
        return (
            "AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
            f"AccountingStoragePort={self.port}\nAccountingStoragePass={self.folder}/munge/sock"
        )

    @property
    def _database(self) -> Path:
        return self.folder / "database"

    @property
    def _socket(self) -> Path:
        return self._database / "sock"

    def _start_database(self) -> None:
        self._database.mkdir()
        shutil.chown(self._database, "slurm", "slurm")
        data = self._database / "data"
        make = ["mariadb-install-db", "--no-defaults", "--user=slurm", f"--datadir={data}", "--skip-test-db"]
        subprocess.run([*make, "--auth-root-authentication-method=socket"], check=True, capture_output=True)
        log = (self.folder / "log" / "mariadb.log").open("w")
        files = [f"--datadir={data}", f"--socket={self._socket}"]
        memory = ["--performance-schema=0", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"]
        serve = ["mariadbd", "--no-defaults", "--user=slurm", "--skip-networking", *files, *memory]
        self._mariadb = subprocess.Popen(serve, stdout=log, stderr=log, start_new_session=True)
        log.close()
        wait_until(lambda: self._sql("SELECT 1"), "MariaDB answers")
        assert self._sql(_GRANT)

    def _sql(self, statement: str) -> bool:
        client = ["mariadb", "--no-defaults", f"--socket={self._socket}", f"--execute={statement}"]
        return subprocess.run(client, capture_output=True).returncode == 0
