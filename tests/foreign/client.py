"""A client that has nothing of ours: it learns the admin API from the server itself.

Given the address of a coordinator, it makes a table, lists its tablets, moves one of them, and
watches that move to its end. Stock grpcio and server reflection, nothing else.

    client.py HOST:PORT CLUSTER_FILE
"""

import json
import pathlib
import sys
import time
import uuid

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

# Nothing here takes so long unless something is broken.
PATIENCE_S = 60


def new_request_id():
    """A UUIDv7: what every change is known by."""
    millis = time.time_ns() // 1_000_000
    drawn = uuid.uuid4().int
    high = (millis << 16) | 0x7000 | (drawn & 0x0FFF)
    low = (2 << 62) | ((drawn >> 12) & ((1 << 62) - 1))
    return str(uuid.UUID(int=(high << 64) | low))


class Foreign:
    """Services and messages as the server describes them."""

    def __init__(self, channel):
        self.channel = channel
        self.services = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.services)

    def call(self, service, method, **fields):
        """Calls a method by its name: a message, or an iterator over them."""
        full = f"palisade.admin.v1.{service}"
        described = self.pool.FindServiceByName(full).FindMethodByName(method)
        asks = message_factory.GetMessageClass(described.input_type)
        answers = message_factory.GetMessageClass(described.output_type)
        kind = self.channel.unary_stream if described.server_streaming else self.channel.unary_unary
        stub = kind(
            f"/{full}/{method}",
            request_serializer=asks.SerializeToString,
            response_deserializer=answers.FromString,
        )
        return stub(asks(**fields), timeout=PATIENCE_S)

    def value(self, enum, name):
        """The number of a value of an enum."""
        return self.pool.FindEnumTypeByName(f"palisade.admin.v1.{enum}").values_by_name[name].number


def watch_to_its_end(foreign, migration):
    """Follows a migration through its stages; how it ended."""
    running = foreign.value("MigrationState", "MIGRATION_STATE_RUNNING")
    stages = foreign.pool.FindEnumTypeByName("palisade.types.v1.Stage").values_by_number
    seen = None
    for message in foreign.call("MigrationService", "WatchMigrations", id=migration):
        for now in message.migrations:
            if now.state != running:
                return now
            if now.stage != seen:
                seen = now.stage
                print(f"  {stages[seen].name}")
    raise AssertionError("the watch ended before the migration")


def credentials_of(cluster_file):
    """Stock TLS with the certificates that a cluster file names."""
    files = json.loads(pathlib.Path(cluster_file).read_text())["tls"]
    read = {which: pathlib.Path(file).read_bytes() for which, file in files.items()}
    return grpc.ssl_channel_credentials(read["cacert"], read["key"], read["cert"])


def main(address, cluster_file):
    with grpc.secure_channel(address, credentials_of(cluster_file)) as channel:
        foreign = Foreign(channel)
        services = [name for name in foreign.services.get_services() if name.startswith("palisade.")]
        assert "palisade.admin.v1.MigrationService" in services, services
        # Nothing else is to move meanwhile.
        still = {"request_id": new_request_id(), "reason": "one move is watched"}
        foreign.call("BalanceService", "DisableBalancing", **still)
        created = foreign.call(
            "TableService",
            "CreateTable",
            request_id=new_request_id(),
            name="foreign",
            replication_factor=3,
            tablets=4,
        )
        assert created.table.name == "foreign", created
        tablets = foreign.call("TabletService", "ListTablets", table="foreign").tablets
        assert len(tablets) == 4, tablets
        for tablet in tablets:
            print(tablet.name, [replica.node for replica in tablet.replicas])
        tablet = tablets[0]
        has = {replica.node for replica in tablet.replicas}
        nodes = [node.name for node in foreign.call("NodeService", "ListNodes").nodes]
        source, target = tablet.replicas[0].node, next(node for node in nodes if node not in has)
        request_id = new_request_id()
        move = {"request_id": request_id, "tablet": tablet.id, "from": source, "to": target}
        begun = foreign.call("MigrationService", "Migrate", **move).migration
        print(f"{tablet.name}: {source} to {target}, migration {begun.id}")
        # The same request again is the same migration.
        assert foreign.call("MigrationService", "Migrate", **move).migration.id == begun.id
        ended = watch_to_its_end(foreign, begun.id)
        done = foreign.value("MigrationState", "MIGRATION_STATE_DONE")
        assert ended.state == done, ended
        after = foreign.call("TabletService", "GetTablet", tablet=tablet.id).tablet
        assert {replica.node for replica in after.replicas} == (has - {source}) | {target}, after
        print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
