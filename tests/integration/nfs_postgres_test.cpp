// SPDX-License-Identifier: Apache-2.0
// A database on a published NFS volume whose data path is killed beneath it: no error, balances that add
// up, and every page's checksum right.
#include <gtest/gtest.h>

#include "tests/integration/data_path_killer.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::tests {
namespace {

constexpr std::chrono::seconds kProgramMax{200};

TEST(NfsPostgres, KeepsItsPromises) {
  NfsNode node;
  const Volume volume = node.Run("postgres");
  const auto shell = [&](const std::string& script) {
    return RunProgram({"bash", "-euo", "pipefail", "-c", script},
                      node.host().directory() / "program.out", kProgramMax);
  };
  const std::string data = (volume.target / "pg").string();
  const std::string as = "runuser -u postgres -- env PATH=$(echo /usr/lib/postgresql/*/bin):$PATH ";
  const std::string sockets = (node.host().directory() / "pg").string();
  EXPECT_EQ(shell("install -d -o postgres -m 700 " + data + " " + sockets + "; chmod a+x " +
                  node.host().directory().string()),
            "");
  {
    const DataPathKiller killer(node);
    EXPECT_EQ(shell(as + "initdb -D " + data + " --data-checksums -A trust"), "");
    EXPECT_EQ(shell(as + "pg_ctl -D " + data + " -w -o \"-c listen_addresses='' -k " + sockets +
                    "\" -l " + sockets + "/log start >/dev/null"),
              "");
    EXPECT_EQ(shell(as + "pgbench -h " + sockets + " -i -s 2 postgres"), "");
    EXPECT_EQ(shell(as + "pgbench -h " + sockets + " -c 4 -j 2 -T 20 postgres"), "");
    EXPECT_EQ(
        shell(
            "test $(" + as + "psql -h " + sockets +
            " -Atc \"SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM "
            "pgbench_history) AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT "
            "sum(delta) "
            "FROM pgbench_history)\" postgres) = t"),
        "");
    EXPECT_EQ(shell(as + "pg_ctl -D " + data + " -m fast -w stop"), "");
    EXPECT_EQ(shell(as + "pg_checksums -D " + data + " --check"), "");
    std::printf("  the data path was killed %d times meanwhile\n", killer.kills());
  }
  ASSERT_GRPC_OK(node.End(volume));
}

}  // namespace
}  // namespace gantry::tests
