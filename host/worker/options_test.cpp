// SPDX-License-Identifier: Apache-2.0
#include "host/worker/options.hpp"

#include <gtest/gtest.h>

namespace gantry::worker {
namespace {

const std::vector<std::string> kGood = {"--backend", "nfs-1", "--plugin", "/store/a.so",
                                        "--uid",     "61234", "--gid",    "61235"};

std::vector<std::string> With(size_t at, const std::string& value) {
  auto arguments = kGood;
  arguments[at] = value;
  return arguments;
}

TEST(Options, TakesACompleteCommandLine) {
  auto arguments = kGood;
  arguments.insert(arguments.end(), {"--capabilities", "net_bind_service,net_raw"});
  const auto options = ParseOptions(arguments);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->backend, "nfs-1");
  EXPECT_EQ(options->plugin, "/store/a.so");
  EXPECT_EQ(options->uid, 61234u);
  EXPECT_EQ(options->gid, 61235u);
  EXPECT_EQ(options->capabilities, (std::vector<std::string>{"net_bind_service", "net_raw"}));
}

TEST(Options, TakesLimitsAndCgroups) {
  auto arguments = kGood;
  arguments.insert(arguments.end(), {"--memory-mib", "64", "--threads", "32", "--open-files", "128",
                                     "--cgroup", "/a", "--cgroup", "/b"});
  const auto options = ParseOptions(arguments);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->limits.memory_mib, 64u);
  EXPECT_EQ(options->limits.threads, 32u);
  EXPECT_EQ(options->limits.open_files, 128u);
  EXPECT_EQ(options->cgroups, (std::vector<std::filesystem::path>{"/a", "/b"}));
}

TEST(Options, TakesAPreparedRootAndNeedsNoBackendToMakeOne) {
  auto arguments = kGood;
  arguments.insert(arguments.end(), {"--root-fd", "6"});
  const auto options = ParseOptions(arguments);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->root_fd, 6);
  const auto preparing = ParseOptions({"--prepare-root", "/store"});
  ASSERT_TRUE(preparing) << preparing.error().message;
  EXPECT_EQ(preparing->prepare_root, "/store");
}

TEST(Options, NamesTheOptionAndTheValueItRefuses) {
  const auto message = [](const std::vector<std::string>& arguments) {
    const auto options = ParseOptions(arguments);
    return options ? std::string("accepted") : options.error().message;
  };
  EXPECT_EQ(message(With(1, "NFS")), "--backend: \"NFS\", expected 1 to 32 of [a-z0-9-]");
  EXPECT_EQ(message(With(3, "a.so")), "--plugin: \"a.so\", expected an absolute path");
  EXPECT_EQ(message(With(5, "0")),
            "--uid: \"0\", expected a number above 0: a plugin never runs as root");
  EXPECT_EQ(message(With(5, "4294967295")),
            "--uid: \"4294967295\", expected a number above 0: a plugin never runs as root");
  EXPECT_EQ(message(With(7, "12x")),
            "--gid: \"12x\", expected a number above 0: a plugin never runs as root");
  EXPECT_EQ(message({"--memory-mib", "31"}),
            "--memory-mib: \"31\", expected a number from 32 to 1048576");
  EXPECT_EQ(message({"--threads", "many"}),
            "--threads: \"many\", expected a number from 16 to 4096");
  EXPECT_EQ(message({"--root-fd", "4"}), "--root-fd: \"4\", expected a number from 5 to 9");
  EXPECT_EQ(message({"--prepare-root", "a"}), "--prepare-root: \"a\", expected an absolute path");
  EXPECT_EQ(message({"--cgroup", "a"}), "--cgroup: \"a\", expected an absolute path");
  EXPECT_EQ(message(With(0, "--backends")), "--backends: unknown option, see --help");
  EXPECT_EQ(message({"--backend"}), "--backend: expected a value");
  EXPECT_EQ(message({kGood.begin(), kGood.begin() + 4}), "--uid: missing, see --help");
}

TEST(Options, AsksForNothingElseWhenHelpIsWanted) {
  const auto options = ParseOptions({"--help"});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->help);
}

}  // namespace
}  // namespace gantry::worker
