// SPDX-License-Identifier: Apache-2.0
// Real programs on a published NFS volume while its data path is killed beneath them; what they have
// made is compared with the same made elsewhere, as the server has it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/integration/data_path_killer.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival_load.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr seconds kProgramMax{200};

fs::path Source() {
  const char* directory = std::getenv("GANTRY_SOURCE_DIR");
  if (directory == nullptr) throw std::runtime_error("GANTRY_SOURCE_DIR is not set");
  return directory;
}

class NfsPrograms : public ::testing::Test {
 protected:
  NfsPrograms() : node_(), volume_(node_.Run("programs")) {}
  void TearDown() override { ASSERT_GRPC_OK(node_.End(volume_)); }
  // Empty, or what went wrong.
  std::string Run(const std::vector<std::string>& command) {
    return RunProgram(command, node_.host().directory() / "program.out", kProgramMax);
  }
  std::string Shell(const std::string& script) {
    return Run({"bash", "-euo", "pipefail", "-c", script});
  }

  NfsNode node_;
  Volume volume_;
};

TEST_F(NfsPrograms, GitTarAndRsyncMakeWhatTheyMakeElsewhere) {
  const std::string here = (volume_.target).string();
  const std::string there = (node_.host().directory() / "elsewhere").string();
  const std::string server = volume_.backing.string();
  fs::create_directories(there);
  const std::string git = "git -c safe.directory='*' -c core.fsync=none ";
  {
    const DataPathKiller killer(node_);
    // A clone of the newest commit: whose it is, and how the tree lies about, does not matter.
    EXPECT_EQ(Shell(git + "clone -q --depth 1 file://" + Source().string() + " " + there + "/tree"),
              "");
    EXPECT_EQ(Shell(git + "clone -q --no-hardlinks " + there + "/tree " + here + "/clone"), "");
    EXPECT_EQ(Shell("cd " + here + "/clone; " + git + "fsck --strict; test -z \"$(" + git +
                    "status --porcelain)\""),
              "");
    // Links of both kinds, modes, times, names of every sort. Not the times of symbolic links, which do
    // not stick with Ganesha's VFS.
    EXPECT_EQ(
        Shell(
            "cd " + there +
            "/tree; rm -rf .git tests plugins deploy; ln README.md 'a hard link'; ln -s README.md "
            "symbolic; mkdir -m 1777 sticky; chmod 0600 LICENSE* || true; touch -d 2001-02-03 "
            "CMakeLists.txt; printf x > $'name with\\nnewline'; truncate -s 10M sparse"),
        "");
    EXPECT_EQ(Shell("mkdir " + here + "/tar; tar -C " + there + "/tree -cf - . | tar -C " + here +
                    "/tar -xpf -"),
              "");
    EXPECT_EQ(Run({"rsync", "-aH", there + "/tree/", here + "/rsync/"}), "");
    EXPECT_EQ(Shell("test -z \"$(rsync -aHnJ --checksum --itemize-changes " + there + "/tree/ " +
                    here + "/rsync/)\""),
              "");
    std::printf("  the data path was killed %d times meanwhile\n", killer.kills());
    EXPECT_GT(killer.kills(), 2);
  }
  // As the server has it: content, modes, owners, links, times of files.
  for (const char* made : {"/tar", "/rsync"})
    EXPECT_EQ(Shell("a=$(rsync -aHnJ --checksum --delete --itemize-changes " + there + "/tree/ " +
                    server + made + "/); test -z \"$a\" || { echo \"$a\"; exit 1; }"),
              "");
}

}  // namespace
}  // namespace gantry::tests
