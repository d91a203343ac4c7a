// SPDX-License-Identifier: Apache-2.0
// A canary: a secret that goes into every secrets map of a volume's life, while everything that
// others can read is searched for it. Memory is not; what is said of it stands in SECURITY.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "host/base/process.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::chrono::seconds kEndMax{10};
constexpr int kRoundsMin = 10;  // of looking at all processes
constexpr std::chrono::seconds kRoundsMax{60};
constexpr int kLookAgainMs = 1;

std::string NewCanary() {
  std::random_device random;
  std::string canary = "canary";
  for (int i = 0; i < 6; ++i) canary += "-" + std::to_string(random());
  return canary;
}

std::vector<pid_t> AllPids() {
  std::vector<pid_t> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos)
      pids.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return pids;
}

std::string Slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

// Files below it, names included, that hold the word.
std::vector<std::string> FilesWith(const fs::path& top, const std::string& word) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(top)) {
    const bool regular = entry.is_regular_file();
    if (entry.path().string().find(word) != std::string::npos ||
        (regular && Slurp(entry.path()).find(word) != std::string::npos))
      found.push_back(entry.path());
  }
  return found;
}

// Looks at all command lines and environments again and again, since helpers live for milliseconds.
class ProcessWatch {
 public:
  explicit ProcessWatch(std::string word)
      : thread_([this, word = std::move(word)] {
          const std::string self = std::to_string(getpid());
          while (!stop_) {
            for (const pid_t pid : AllPids()) {
              const fs::path proc = fs::path("/proc") / std::to_string(pid);
              for (const char* file : {"cmdline", "environ"})
                if (Slurp(proc / file).find(word) != std::string::npos) found_ = true;
            }
            ++rounds_;
            poll(nullptr, 0, kLookAgainMs);
          }
        }) {}
  ~ProcessWatch() { Stop(); }
  bool Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return found_;
  }
  bool found() const { return found_; }
  int rounds() const { return rounds_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<bool> found_{false};
  std::atomic<int> rounds_{0};
  std::thread thread_;
};

TEST(Canary, IsFoundByTheSearchesOfThisTest) {
  const std::string canary = NewCanary();
  const base::TempDir directory;
  ASSERT_EQ(WriteWhole(directory.path() / "file", "before " + canary + " after"), 0);
  EXPECT_EQ(FilesWith(directory.path(), canary).size(), 1U);
  for (const bool in_environment : {false, true}) {
    ProcessWatch watch(canary);
    base::SpawnOptions sleep;
    sleep.arguments = {"sleep", "60"};
    if (in_environment)
      sleep.environment = {"SECRET=" + canary};
    else
      sleep.arguments.at(0) = canary;
    const auto child = base::SpawnProgram("/bin/sleep", sleep);
    ASSERT_TRUE(child.has_value()) << child.error().message;
    EXPECT_TRUE(Soon([&] { return watch.found(); }, kEndMax));
  }
}

TEST(Canary, IsInNoLogErrorCommandLineOrFile) {
  const std::string canary = NewCanary();
  NfsNode node;
  node.secrets = {{"password", canary}, {"key", "prefix " + canary + " suffix"}};
  ProcessWatch watch(canary);

  const Volume volume = node.Run("canary");
  ASSERT_GRPC_OK(node.Stage(volume));
  ASSERT_GRPC_OK(node.Publish(volume));
  // For as long as it takes to look often, on a machine that is busy.
  const auto looked_often = [&] {
    return !node.Stage(volume).ok() || !node.Publish(volume).ok() || watch.rounds() > kRoundsMin;
  };
  EXPECT_TRUE(Soon(looked_often, kRoundsMax));
  ASSERT_GRPC_OK(node.Expand(volume, 2LL << 30));
  EXPECT_EQ(WriteWhole(volume.target / "file", "content"), 0);

  // Calls that fail carry it as well.
  std::vector<std::string> errors;
  const auto failed = [&](const grpc::Status& status) {
    EXPECT_FALSE(status.ok()) << "after " << errors.size() << " others";
    errors.push_back(status.error_message() + status.error_details());
  };
  failed(node.PublishAt(volume, volume.target, true));
  failed(node.PublishAt(volume, "/outside", false));
  Volume absent = volume;
  absent.id = "nfs:absent";
  failed(node.Stage(absent));
  failed(node.Expand(absent, 1 << 30));
  Volume hostile = node.Plan("../hostile");
  hostile.mode = static_cast<Mode::Mode>(77);
  failed(node.Create(hostile));
  const auto secrets = node.secrets;
  for (int i = 0; i < 1000; ++i) node.secrets["many" + std::to_string(i)] = canary;
  Volume large = node.Plan("large");
  failed(node.Create(large));
  node.secrets = secrets;

  const auto everywhere = [&] {
    std::vector<std::string> found = FilesWith(node.host().directory() / "state", canary);
    for (const auto& file : FilesWith(node.server().root(), canary)) found.push_back(file);
    return found;
  };
  EXPECT_THAT(everywhere(), IsEmpty());
  ASSERT_TRUE(node.host().Restart().has_value());
  ASSERT_GRPC_OK(node.End(volume));
  EXPECT_THAT(everywhere(), IsEmpty());
  for (const auto& error : errors) EXPECT_THAT(error, Not(HasSubstr(canary)));
  EXPECT_FALSE(watch.Stop());
  EXPECT_GT(watch.rounds(), kRoundsMin);
  const std::string log = node.host().Log();
  EXPECT_THAT(log, HasSubstr("NodeStageVolume"));
  EXPECT_EQ(log.find(canary), std::string::npos);
  EXPECT_EQ(Slurp(node.server().log()).find(canary), std::string::npos);
}

// Names of files like "core" and "core.123" there.
std::set<std::string> Cores(const fs::path& directory) {
  std::set<std::string> found;
  for (const auto& entry : fs::directory_iterator(directory))
    if (entry.path().filename().string().starts_with("core") && entry.is_regular_file())
      found.insert(entry.path().string() + " " +
                   std::to_string(entry.last_write_time().time_since_epoch().count()));
  return found;
}

TEST(Canary, IsInNoCoreFile) {
  // The most careless environment: every process may dump as much as it likes.
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY};
  ASSERT_EQ(setrlimit(RLIMIT_CORE, &unlimited), 0);
  NfsNode node;
  node.secrets = {{"password", NewCanary()}};
  const Volume volume = node.Run("cores");
  std::vector<pid_t> pids = node.host().WorkerPids("nfs");
  ASSERT_EQ(pids.size(), 1U);
  pids.push_back(node.DataPathPids().at(0));
  pids.push_back(node.host().pid());
  for (const pid_t pid : pids) {
    SCOPED_TRACE(StatusOf(pid, "Name"));
    const fs::path proc = fs::path("/proc") / std::to_string(pid);
    EXPECT_THAT(Slurp(proc / "limits"),
                HasSubstr("Max core file size        0                    0"));
    const fs::path where = fs::read_symlink(proc / "cwd");
    const auto before = Cores(where);
    if (pid == node.host().pid())
      // Not SIGSEGV, which a sanitizer takes for a finding.
      ASSERT_TRUE(node.host().Kill(SIGABRT).has_value());
    else
      ASSERT_EQ(kill(pid, SIGABRT), 0);
    EXPECT_TRUE(Soon(
        [&] { return StatusOf(pid, "State").empty() || StatusOf(pid, "State").starts_with("Z"); },
        kEndMax));
    EXPECT_EQ(Cores(where), before);
  }
  ASSERT_TRUE(node.host().Restart().has_value());
  ASSERT_GRPC_OK(node.End(volume));
}

}  // namespace
}  // namespace gantry::tests
