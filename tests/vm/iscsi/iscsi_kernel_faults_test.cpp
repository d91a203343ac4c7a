// SPDX-License-Identifier: Apache-2.0
// What goes wrong beneath volumes of the kernel's initiator: secrets, paths, targets, other disks.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <fstream>
#include <iostream>
#include <mutex>
#include <thread>

#include "plugins/iscsi/chap/chap.hpp"
#include "tests/vm/iscsi/iscsi_kernel.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
namespace initiator = iscsi::initiator;
using grpc::StatusCode;
using std::chrono::seconds;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using namespace std::chrono_literals;

std::chrono::milliseconds Timed(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               begin);
}

// Regular files of these directories' own filesystems.
std::vector<fs::path> FilesWith(const std::string& text, const std::vector<fs::path>& places) {
  constexpr uintmax_t kBytesMax = 1 << 20;
  std::vector<fs::path> files;
  for (const auto& place : places) {
    std::error_code error;
    for (fs::recursive_directory_iterator it(place, error), end; !error && it != end;
         it.increment(error))
      if (it->is_regular_file() && !it->is_symlink() && it->file_size() < kBytesMax &&
          ReadAll(it->path()).find(text) != std::string::npos)
        files.push_back(it->path());
  }
  return files;
}

// Looks at everybody's words, as long as it lives.
class CommandLines {
 public:
  CommandLines()
      : thread_([this] {
          constexpr int kLookMs = 5;
          for (; !stop_; poll(nullptr, 0, kLookMs)) {
            for (const auto& entry : fs::directory_iterator("/proc")) {
              std::error_code ignored;
              if (!fs::exists(entry.path() / "cmdline", ignored)) continue;
              const std::string words = ReadAll(entry.path() / "cmdline");
              if (words.find("iscsiadm") != std::string::npos) ++tools_;
              const std::lock_guard lock(mutex_);
              for (const auto& secret : secrets_)
                if (words.find(secret) != std::string::npos) seen_.push_back(words);
            }
          }
        }) {}
  ~CommandLines() {
    stop_ = true;
    thread_.join();
  }
  void LookFor(const std::string& secret) {
    const std::lock_guard lock(mutex_);
    secrets_.push_back(secret);
  }
  std::vector<std::string> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  int tools() const { return tools_; }  // looks at iscsiadm

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> secrets_;
  std::vector<std::string> seen_;
  std::atomic<int> tools_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(KernelIscsi, SecretsAreInNobodysWordsAndInNoFile) {
  Start({.lio = true}, "      chap: mutual\n");
  const std::string key = "canary-0123456789abcdef0123456789abcdef";
  node_->secrets = {{"chapKey", key}};
  LunVolume volume = Named("chap");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Attach(volume, "node-a"));
  CommandLines words;
  words.LookFor(key);
  const auto secrets = iscsi::DeriveChap(
      key, {volume.id.substr(volume.id.find(':') + 1), volume.context.at("incarnation"), "node-a"},
      true);
  ASSERT_TRUE(secrets);
  words.LookFor(secrets->password);
  words.LookFor(secrets->password_in);
  ASSERT_DONE(node_->Stage(volume));
  ASSERT_DONE(node_->Publish(volume));
  // It is this secret that the kernel has, so that a file with it would be found.
  EXPECT_THAT(ReadAll("/sys/class/iscsi_session/" + Sessions().at(0) + "/password"),
              HasSubstr(secrets->password));
  EXPECT_THAT(RecordsOnDisk(), IsEmpty());
  EXPECT_THAT(FilesWith(secrets->password, {"/etc", "/var/lib/iscsi", "/run/lock",
                                            "/run/gantry-initiator", node_->host().directory()}),
              IsEmpty());
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", Pattern(kMiB, 1)), 0);

  // An iscsid that knows nothing takes the session, and logs in again, from the kernel.
  Guest::Get().RestartIscsid();
  ASSERT_EQ(Shell("ss -K dport = 3260 >/dev/null"), 0);
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "more", Pattern(kMiB, 2)), 0);
  EXPECT_TRUE(Soon([] { return States() == std::vector<std::string>{"LOGGED_IN"}; }, kPatience));

  ASSERT_DONE(node_->Down(volume));
  EXPECT_THAT(words.seen(), IsEmpty());
  EXPECT_GT(words.tools(), 0) << "iscsiadm was not looked at even once";
  EXPECT_THAT(node_->host().Log(), Not(HasSubstr(secrets->password)));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, AWrongSecretIsRefusedAtOnceAndLeavesNothing) {
  Start({}, "      chap: oneWay\n");
  node_->secrets = {{"chapKey", std::string(40, 'k')}};
  LunVolume volume = Named("wrong");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Attach(volume, "node-a"));
  node_->secrets = {{"chapKey", std::string(40, 'x')}};
  grpc::Status refused;
  const auto took = Timed([&] { refused = node_->Stage(volume); });
  std::cout << "refused after " << took.count() << " ms\n";
  EXPECT_EQ(refused.error_code(), StatusCode::UNAUTHENTICATED) << Say(refused);
  EXPECT_LT(took, 20s);
  EXPECT_THAT(Sessions(), IsEmpty());
  EXPECT_THAT(RecordsOnDisk(), IsEmpty());
  node_->secrets = {{"chapKey", std::string(40, 'k')}};
  ASSERT_DONE(node_->Stage(volume));
  ASSERT_DONE(node_->Publish(volume));
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, IoGoesOnWhenOneOfTwoPathsIsCutAndComesBack) {
  Start({.lio = true, .addresses = {kSecondAddress, kThirdAddress}});
  LunVolume volume = Named("paths");
  volume.block = true;
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  ASSERT_THAT(Maps(), SizeIs(1));
  RawWriter writer(node_->Target(volume));
  ASSERT_TRUE(Soon([&] { return writer.written() > 20; }, kPatience));
  {
    Blackhole second(kSecondAddress);
    ASSERT_TRUE(Soon(
        [] {
          const auto states = States();
          return std::count(states.begin(), states.end(), "LOGGED_IN") == 1;
        },
        kPatience));
    const uint64_t before = writer.written();
    const auto took = Timed(
        [&] { EXPECT_TRUE(Soon([&] { return writer.written() > before + 20; }, kPatience)); });
    std::cout << "with one path, 20 blocks after " << took.count() << " ms\n";
    EXPECT_FALSE(writer.failed());
  }
  EXPECT_TRUE(Soon(
      [] {
        const auto states = States();
        return std::count(states.begin(), states.end(), "LOGGED_IN") == 2;
      },
      kPatience));
  // The other one now, so that this one has to have come back for good.
  Blackhole first(kThirdAddress);
  const uint64_t before = writer.written();
  EXPECT_TRUE(Soon([&] { return writer.written() > before + 20; }, kPatience));
  EXPECT_FALSE(writer.failed());
  writer.Stop();
  first.End();
  ASSERT_DONE(node_->Down(volume));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, OneOfTwoPortalsIsEnoughToBegin) {
  Start({.lio = true, .addresses = {"127.0.0.1", kSecondAddress}});
  LunVolume volume = Named("degraded");
  ASSERT_DONE(node_->Create(volume));
  Blackhole second(kSecondAddress);
  ASSERT_DONE(node_->Up(volume));
  EXPECT_THAT(Sessions(), SizeIs(1));
  EXPECT_THAT(Maps(), SizeIs(1));
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", "one path"), 0);
  ASSERT_DONE(node_->Down(volume));
  second.End();
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, AVolumesDetachEndsNoOthersIo) {
  Start();
  LunVolume stays = Named("stays");
  stays.block = true;
  LunVolume leaves = Named("leaves");
  ASSERT_DONE(node_->Create(stays));
  ASSERT_DONE(node_->Create(leaves));
  ASSERT_DONE(node_->Up(stays));
  RawWriter writer(node_->Target(stays));
  for (int i = 0; i < 2; ++i) {
    ASSERT_DONE(node_->Up(leaves));
    ASSERT_DONE(node_->Down(leaves));
  }
  const uint64_t before = writer.written();
  EXPECT_TRUE(Soon([&] { return writer.written() > before + 5; }, kPatience));
  EXPECT_FALSE(writer.failed());
  writer.Stop();
  ASSERT_DONE(node_->Down(stays));
  for (auto* volume : {&stays, &leaves}) ASSERT_DONE(node_->Delete(*volume));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, RefusesAnotherVolumesDiskAndFormatsNothing) {
  Start();
  LunVolume mine = Named("mine");
  LunVolume others = Named("others");
  ASSERT_DONE(node_->Create(mine));
  ASSERT_DONE(node_->Create(others));
  ASSERT_DONE(node_->Attach(mine, "node-a"));
  ASSERT_DONE(node_->Attach(others, "node-a"));
  const auto published = mine.publish_context;
  for (const char* key : {"iqn", "lun", "portals"})
    mine.publish_context[key] = others.publish_context[key];
  const auto refused = node_->Stage(mine);
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION) << Say(refused);
  EXPECT_THAT(refused.error_message(), HasSubstr("another disk"));
  EXPECT_THAT(Sessions(), IsEmpty());
  ASSERT_DONE(node_->Unstage(mine));
  mine.publish_context = published;
  // Blank as before: a backend lets only what nobody has written to be formatted.
  ASSERT_DONE(node_->Stage(others));
  for (auto* volume : {&mine, &others}) {
    ASSERT_DONE(node_->Stage(*volume));
    ASSERT_DONE(node_->Publish(*volume));
    ASSERT_DONE(node_->Down(*volume));
    ASSERT_DONE(node_->Delete(*volume));
  }
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, ADetachEndsWhileTheTargetIsAway) {
  Start();
  LunVolume raw = Named("raw");
  raw.block = true;  // its I/O would wait for ever
  ASSERT_DONE(node_->Create(raw));
  ASSERT_DONE(node_->Up(raw));
  ASSERT_EQ(WriteSynced(node_->Target(raw), "content"), 0);
  ASSERT_DONE(node_->Unpublish(raw));
  ASSERT_TRUE(target_->tgt().Freeze());
  const auto took = Timed([&] {
    EXPECT_TRUE(Soon([&] { return node_->Unstage(raw).ok(); }, kPatience)) << "it does not end";
  });
  std::cout << "detached from a frozen target after " << took.count() << " ms\n";
  EXPECT_LT(took, 90s);
  EXPECT_THAT(Disks(), IsEmpty());
  EXPECT_THAT(Sessions(), IsEmpty());
  ASSERT_TRUE(target_->tgt().Thaw());
  ASSERT_DONE(node_->Detach(raw, "node-a"));
  ASSERT_DONE(node_->Delete(raw));
  ExpectNothingLeft();
}

TEST_F(KernelIscsi, AFilesystemIsTakenDownWhileTheTargetIsAway) {
  Start({}, "      ioTimeoutSeconds: 5\n");
  LunVolume volume = Named("away");
  ASSERT_DONE(node_->Create(volume));
  ASSERT_DONE(node_->Up(volume));
  ASSERT_EQ(WriteSynced(node_->Target(volume) / "file", "content"), 0);
  ASSERT_TRUE(target_->tgt().Kill());
  const auto took = Timed([&] {
    EXPECT_TRUE(Soon([&] { return node_->Unpublish(volume).ok(); }, kPatience));
    EXPECT_TRUE(Soon([&] { return node_->Unstage(volume).ok(); }, kPatience));
  });
  std::cout << "unmounted and detached from a dead target after " << took.count() << " ms\n";
  EXPECT_THAT(Disks(), IsEmpty());
  EXPECT_THAT(Sessions(), IsEmpty());
  ASSERT_TRUE(target_->tgt().Restart());
  ASSERT_DONE(node_->Detach(volume, "node-a"));
  ASSERT_DONE(node_->Delete(volume));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace gantry::tests
