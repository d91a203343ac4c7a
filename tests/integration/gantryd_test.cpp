// SPDX-License-Identifier: Apache-2.0
// The program itself: how it judges a configuration, ends, and starts over what it left.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "host/base/fd.hpp"
#include "host/base/open_files.hpp"
#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

using grpc::StatusCode;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr seconds kCheckMax{20};
constexpr seconds kSoonMax{10};
constexpr seconds kIdleEndMax{3};
constexpr int kBadConfiguration = 2;

// --- --check-config -------------------------------------------------------------------------

class CheckConfig : public ::testing::Test {
 protected:
  struct Outcome {
    int code = -1;
    std::string words;
  };

  std::filesystem::path file() const { return directory_.path() / "gantry.yaml"; }

  std::string Text(const std::string& more_of_backend, const std::string& share_key = "port") {
    return "state_directory: " + (directory_.path() / "state").string() +
           "\nplugin_directory: " + (BuildDirectory() / "lib/gantry/plugins").string() +
           "\nkubelet_directory: " + directory_.path().string() + "\ntrust: any" +
           "\nnode: {id: node-1}\ndrivers:\n  - name: test.gantry.example\n    endpoint: unix://" +
           (directory_.path() / "csi.sock").string() +
           "\n    backends: [nfs]\nbackends:\n  nfs:\n    plugin: nfs\n    owner: test\n" +
           "    uid: 61001\n    config: {shares: [{server: 127.0.0.1, share: /vol, " + share_key +
           ": 2049}]}\n" + more_of_backend;
  }

  Outcome Check(const std::string& text) {
    EXPECT_EQ(WriteWhole(file(), text), 0);
    const auto words = directory_.path() / "words";
    const base::UniqueFd out(open(words.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const auto binary = base::PinnedBinary::Open(BuildDirectory() / "bin/gantryd");
    if (!binary) return {-1, binary.error().message};
    base::SpawnOptions options;
    options.arguments = {"gantryd",   "--config",
                         file(),      "--check-config",
                         "--libexec", std::filesystem::absolute(BuildDirectory() / "bin")};
    options.environment = lab::SanitizerEnvironment();
    options.environment.emplace_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
    options.stdout_fd = out.get();
    options.stderr_fd = out.get();
    auto child = base::Spawn(*binary, options);
    if (!child) return {-1, child.error().message};
    const auto status = child->Wait(kCheckMax);
    Outcome outcome;
    outcome.words = ReadWhole(words).value_or("");
    if (status && *status) outcome.code = (*status)->code;
    EXPECT_FALSE(std::filesystem::exists(directory_.path() / "state"));
    EXPECT_FALSE(std::filesystem::exists(directory_.path() / "csi.sock"));
    return outcome;
  }

  base::TempDir directory_;
};

TEST_F(CheckConfig, SaysThatAGoodFileIsGood) {
  const auto outcome = Check(Text("    grants: {userspace: true}\n"));
  EXPECT_EQ(outcome.code, 0) << outcome.words;
  EXPECT_THAT(outcome.words, HasSubstr(file().string() + ": good: 1 drivers, 1 backends"));
}

TEST_F(CheckConfig, NamesAKeyThatTheBackendDoesNotKnow) {
  const auto outcome = Check(Text("", "prot"));
  EXPECT_EQ(outcome.code, kBadConfiguration) << outcome.words;
  EXPECT_THAT(outcome.words, HasSubstr("nfs"));
  EXPECT_THAT(outcome.words, HasSubstr("shares[0] has the unknown key \"prot\""));
}

TEST_F(CheckConfig, NamesFileAndLineOfAnUnknownKey) {
  const std::string text = Text("    grant: {userspace: true}\n");
  const auto outcome = Check(text);
  const auto line = std::count(text.begin(), text.end(), '\n');
  EXPECT_EQ(outcome.code, kBadConfiguration) << outcome.words;
  EXPECT_THAT(outcome.words, HasSubstr("gantry.yaml:" + std::to_string(line) + ": "));
  EXPECT_THAT(outcome.words, HasSubstr("grant"));
}

TEST_F(CheckConfig, NamesAPluginThatIsNotThere) {
  std::string text = Text("");
  text.replace(text.find("plugin: nfs"), 11, "plugin: nsf");
  const auto outcome = Check(text);
  EXPECT_EQ(outcome.code, kBadConfiguration) << outcome.words;
  EXPECT_THAT(outcome.words, HasSubstr("backends.nfs.plugin: \"nsf\""));
}

TEST_F(CheckConfig, NamesThePluginThatIsNotTrustedAndWhatIsMissing) {
  const auto with = [&](const std::string& trust) {
    std::string text = Text("");
    return Check(text.replace(text.find("trust: any"), 10, trust));
  };
  EXPECT_EQ(with("").code, kBadConfiguration);
  EXPECT_THAT(with("").words, HasSubstr("trust: nothing: expected which plugins may be loaded"));
  const auto listed = with("trust: {sha256: [\"" + std::string(64, 'a') + "\"]}");
  EXPECT_EQ(listed.code, kBadConfiguration) << listed.words;
  EXPECT_THAT(listed.words, HasSubstr("nfs.so (sha256 "));
  EXPECT_THAT(listed.words, HasSubstr("is not trusted: its sha256 is none of the 1 listed"));
  const auto keyed = with("trust: {keys: [" + (directory_.path() / "none.pem").string() + "]}");
  EXPECT_EQ(keyed.code, kBadConfiguration) << keyed.words;
  EXPECT_THAT(keyed.words, HasSubstr("none.pem"));
}

// --- its end and its next start -------------------------------------------------------------

class GantrydLife : public ::testing::Test {
 protected:
  std::filesystem::path socket() { return node_.host().directory() / "csi.sock"; }
  ino_t SocketInode() {
    struct stat found {};
    return lstat(socket().c_str(), &found) == 0 ? found.st_ino : 0;
  }
  NfsNode node_;
};

TEST_F(GantrydLife, FinishesCallsUnderWayWhenToldToEnd) {
  Volume volume = node_.Plan("under-way");
  ASSERT_GRPC_OK(node_.Create(volume));
  ASSERT_TRUE(node_.server().Freeze().has_value());
  auto staged = std::async(std::launch::async, [&] {
    grpc::Status status;
    (void)Soon(
        [&] {
          status = node_.Stage(volume);
          return status.error_code() != StatusCode::ABORTED;
        },
        kSoonMax);
    return status;
  });
  // Refused only while the stage is under way.
  ASSERT_TRUE(
      Soon([&] { return node_.Unpublish(volume).error_code() == StatusCode::ABORTED; }, kSoonMax));
  auto ended = std::async(std::launch::async, [&] { return node_.host().Terminate(); });
  ASSERT_TRUE(
      Soon([&] { return node_.host().Log().find("finishing") != std::string::npos; }, kSoonMax));
  ASSERT_TRUE(node_.server().Thaw().has_value());
  ASSERT_GRPC_OK(staged.get());
  const auto status = ended.get();
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(status->code, 0) << status->Describe();
  EXPECT_EQ(status->signal, 0) << status->Describe();
  EXPECT_THAT(node_.host().WorkerPids("nfs"), IsEmpty());
  EXPECT_EQ(SocketInode(), 0U);

  // What it left mounted goes on, and its successor knows it.
  EXPECT_EQ(WriteWhole(volume.staging / "file", "kept"), 0);
  ASSERT_TRUE(node_.host().Restart().has_value());
  ASSERT_GRPC_OK(node_.Publish(volume));
  EXPECT_EQ(ReadWhole(volume.target / "file"), "kept");
  ASSERT_GRPC_OK(node_.End(volume));
  EXPECT_THAT(node_.Mounted(), IsEmpty());
}

TEST_F(GantrydLife, EndsSoonWhenNothingIsUnderWay) {
  // Neither an idle client nor a server that has been talked to holds it up.
  Volume volume = node_.Plan("before");
  ASSERT_GRPC_OK(node_.Create(volume));
  const auto begin = std::chrono::steady_clock::now();
  const auto status = node_.host().Terminate();
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(status->code, 0) << status->Describe();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, kIdleEndMax) << node_.host().Log();
}

TEST_F(GantrydLife, OpensAsManyFilesAsItMayAndItsWorkersAsManyAsUsual) {
  // Soft and hard, as proc_pid_limits(5) has them: prlimit(2) may not look at another user's.
  const auto limits_of = [](pid_t pid) {
    std::ifstream limits("/proc/" + std::to_string(pid) + "/limits");
    constexpr std::string_view kName = "Max open files";
    std::pair<uint64_t, uint64_t> found;
    for (std::string line; std::getline(limits, line);)
      if (line.starts_with(kName))
        std::istringstream(line.substr(kName.size())) >> found.first >> found.second;
    return found;
  };
  const auto host = limits_of(node_.host().pid());
  ASSERT_GT(host.second, base::kSelectFilesMax) << "this test needs a higher hard limit";
  EXPECT_EQ(host.first, host.second);
  const auto workers = node_.host().WorkerPids("nfs");
  ASSERT_EQ(workers.size(), 1U);
  EXPECT_EQ(limits_of(workers[0]).first, base::kSelectFilesMax);
}

TEST_F(GantrydLife, ReplacesTheSocketOfOneThatWasKilled) {
  ASSERT_TRUE(node_.host().Kill(SIGKILL).has_value());
  const ino_t stale = SocketInode();
  ASSERT_NE(stale, 0U);
  ASSERT_TRUE(node_.host().Restart().has_value()) << node_.host().Log();
  EXPECT_NE(SocketInode(), stale);
  EXPECT_FALSE(std::filesystem::exists(socket().string() + ".new"));
  Volume volume = node_.Plan("after");
  ASSERT_GRPC_OK(node_.Create(volume));
  ASSERT_GRPC_OK(node_.Delete(volume));
}

}  // namespace
}  // namespace gantry::tests
