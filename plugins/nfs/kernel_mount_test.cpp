// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/kernel_mount.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::nfs {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Not;

ShareConfig Share(const std::string& server = "nas.example", const std::string& path = "/export") {
  ShareConfig share;
  share.server = server;
  share.share = path;
  return share;
}

TEST(KernelMount, IsVersion42WithNothingBesideWhatItMustHave) {
  const auto mount = MakeKernelMount(Share(), {"a", "b"}, "", {});
  EXPECT_EQ(mount.fs_type, "nfs4");
  EXPECT_EQ(mount.source, "nas.example:/export/a/b");
  EXPECT_THAT(mount.options, ElementsAre("vers=4.2", "nosharecache"));
}

TEST(KernelMount, OfVersion3LocksOnTheNode) {
  for (const char* flag : {"nfsvers=3", "vers=3", "v3", "hard,vers=3"}) {
    const auto mount = MakeKernelMount(Share(), {"a"}, "", {flag});
    EXPECT_EQ(mount.fs_type, "nfs") << flag;
    EXPECT_THAT(mount.options, ElementsAre("vers=3", "nosharecache", "nolock"));
  }
  EXPECT_THAT(MakeKernelMount(Share(), {"a"}, "vers=3,lock", {}).options, Not(Contains("nolock")));
}

TEST(KernelMount, GoesToTheConfiguredPorts) {
  ShareConfig share = Share();
  share.port = 12049;
  share.mount_port = 12050;
  EXPECT_THAT(MakeKernelMount(share, {"a"}, "", {"vers=3"}).options,
              ::testing::IsSupersetOf({"port=12049", "mountport=12050"}));
  const auto v4 = MakeKernelMount(share, {"a"}, "", {}).options;
  EXPECT_THAT(v4, Contains("port=12049"));
  EXPECT_THAT(v4, Not(Contains("mountport=12050")));
  EXPECT_THAT(MakeKernelMount(share, {"a"}, "", {"port=2049"}).options,
              Not(Contains("port=12049")));
}

TEST(KernelMount, TakesTheVolumesOwnOptionsAndLetsTheFlagsOfTheCoDecide) {
  const auto mount = MakeKernelMount(Share(), {"a"}, "vers=3,timeo=100", {"vers=4.1"});
  EXPECT_EQ(mount.fs_type, "nfs4");
  EXPECT_EQ(mount.options.front(), "vers=4.1");
  EXPECT_THAT(mount.options, Contains("timeo=100"));
  EXPECT_EQ(MakeKernelMount(Share(), {"a"}, "", {"vers=4", "minorversion=1"}).options.front(),
            "vers=4.1");
}

TEST(KernelMount, NamesServersAndTopDirectoriesAsTheKernelDoes) {
  EXPECT_EQ(MakeKernelMount(Share("fd00::1"), {"a"}, "", {}).source, "[fd00::1]:/export/a");
  EXPECT_EQ(MakeKernelMount(Share("10.0.0.1", "/"), {"a"}, "", {}).source, "10.0.0.1:/a");
}

TEST(KernelMount, OfAVolumeThatSeveralNodesWriteIsNeverOneNodesChoice) {
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, true, true), GANTRY_SOURCE_USERSPACE);
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, true, false), GANTRY_SOURCE_USERSPACE);
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, false, true), GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE);
  EXPECT_EQ(SourceKindOf(Mounter::kAuto, false, false), GANTRY_SOURCE_FILESYSTEM);
  EXPECT_EQ(SourceKindOf(Mounter::kKernel, true, false), GANTRY_SOURCE_FILESYSTEM);
  EXPECT_EQ(SourceKindOf(Mounter::kUserspace, false, false), GANTRY_SOURCE_USERSPACE);
}

}  // namespace
}  // namespace gantry::nfs
