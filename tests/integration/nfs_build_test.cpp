// SPDX-License-Identifier: Apache-2.0
// A compiler, a linker and ctest on a published NFS volume, while its data path is killed beneath
// them: a clone of this repository is configured there, a part of it is built, and its tests pass.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/integration/data_path_killer.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::tests {
namespace {

constexpr std::chrono::seconds kBuildMax{1200};

TEST(NfsBuild, OfThisRepositoryIsAsGoodAsElsewhere) {
  const char* source = std::getenv("GANTRY_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  NfsNode node;
  const Volume volume = node.Run("build");
  const std::string output = (node.host().directory() / "build.out").string();
  const auto shell = [&](const std::string& script) {
    return RunProgram({"bash", "-euo", "pipefail", "-c", script}, output, kBuildMax);
  };
  const std::string clone = (volume.target / "clone").string();
  {
    const DataPathKiller killer(node);
    ASSERT_EQ(shell("git -c safe.directory='*' -c core.fsync=none clone -q --depth 1 file://" +
                    std::string(source) + " " + clone),
              "");
    ASSERT_EQ(shell("cd " + clone + " && cmake --preset dev"), "");
    ASSERT_EQ(shell("cd " + clone + "/build/dev && ninja -j2 base_test wire_test"), "");
    ASSERT_EQ(shell("cd " + clone + "/build/dev && ctest -R '^(base|wire)_test$' --no-tests=error"),
              "");
    std::printf("  the data path was killed %d times meanwhile\n", killer.kills());
    EXPECT_GT(killer.kills(), 10);
  }
  ASSERT_GRPC_OK(node.End(volume));
}

}  // namespace
}  // namespace gantry::tests
