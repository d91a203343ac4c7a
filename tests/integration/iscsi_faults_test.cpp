// SPDX-License-Identifier: Apache-2.0
// What goes wrong around an iSCSI volume: two controllers at once, a target without room, another LUN
// under a volume's number.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "tests/integration/iscsi_lab.hpp"
#include "tests/iscsi_target/own_filesystem.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using grpc::StatusCode;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr uint64_t kMiB = uint64_t{1} << 20;

void ExpectNothingLeft(const IscsiTarget& target, IscsiNode& node) {
  EXPECT_THAT(node.Left(), IsEmpty());
  EXPECT_TRUE(Soon([&] { return target.Files().empty(); }, 30s))
      << ::testing::PrintToString(target.Files());
}

std::string Targets(IscsiTarget& target) {
  const auto shown = target.tgt().Show();
  return shown ? *shown : shown.error().message;
}

// --- two controllers

class TwoControllers : public ::testing::Test {
 protected:
  static constexpr int kNames = 6;
  static LunVolume Number(int i) {
    LunVolume volume = Named("shared-" + std::to_string(i));
    volume.bytes = 64 * kMiB;
    volume.block = true;
    return volume;
  }
  // Both do it to each volume, at once.
  template <class Do>
  void AtOnce(const Do& action) {
    std::vector<std::thread> threads;
    for (int c = 0; c < 2; ++c)
      threads.emplace_back([&, c] {
        for (int i = 0; i < kNames; ++i) action(controllers_[c], c, i);
      });
    for (auto& thread : threads) thread.join();
  }

  IscsiTarget target_;
  IscsiNode one_{target_, "node-a"};
  IscsiNode other_{target_, "node-b"};
  IscsiNode* const controllers_[2] = {&one_, &other_};
};

TEST_F(TwoControllers, MakeOneVolumeOfAName) {
  LunVolume made[2][kNames];
  AtOnce([&](IscsiNode* controller, int c, int i) {
    made[c][i] = Number(i);
    EXPECT_TRUE(controller->Create(made[c][i]).ok());
  });
  csi::v1::ListVolumesResponse list;
  ASSERT_DONE(one_.List(&list));
  EXPECT_EQ(list.entries_size(), kNames);
  for (int i = 0; i < kNames; ++i) {
    EXPECT_EQ(made[0][i].id, made[1][i].id);
    EXPECT_EQ(made[0][i].context, made[1][i].context);
  }
  // A record and a backing file each.
  EXPECT_EQ(target_.Files().size(), size_t{2 * kNames})
      << ::testing::PrintToString(target_.Files());

  AtOnce([&](IscsiNode* controller, int c, int i) {
    const auto status = controller->Attach(made[c][i], "node-a");
    EXPECT_TRUE(status.ok()) << Say(status);
  });
  for (int i = 0; i < kNames; ++i)
    EXPECT_EQ(made[0][i].publish_context, made[1][i].publish_context);
  AtOnce([&](IscsiNode* controller, int c, int i) {
    EXPECT_TRUE(controller->Detach(made[c][i], "node-a").ok());
  });
  EXPECT_THAT(Targets(target_), ::testing::Not(HasSubstr("Target ")));
  AtOnce([&](IscsiNode* controller, int c, int i) {
    const auto status = controller->Delete(made[c][i]);
    EXPECT_TRUE(status.ok()) << Say(status);
  });
  ExpectNothingLeft(target_, one_);
}

TEST_F(TwoControllers, GiveASingleNodeVolumeToOneOfTwoNodes) {
  std::atomic<int> given[kNames] = {};
  LunVolume made[2][kNames];
  AtOnce([&](IscsiNode* controller, int c, int i) {
    made[c][i] = Number(i);
    EXPECT_TRUE(controller->Create(made[c][i]).ok());
    const auto status = controller->Attach(made[c][i], controller->id());
    if (status.ok()) ++given[i];
    EXPECT_THAT(status.error_code(), AnyOf(StatusCode::OK, StatusCode::FAILED_PRECONDITION))
        << Say(status);
  });
  for (const auto& count : given) EXPECT_EQ(count, 1);
  AtOnce([&](IscsiNode* controller, int c, int i) {
    EXPECT_TRUE(controller->Detach(made[c][i], controller->id()).ok());
  });
  AtOnce([&](IscsiNode* controller, int c, int i) {
    EXPECT_TRUE(controller->Delete(made[c][i]).ok());
  });
  ExpectNothingLeft(target_, one_);
}

// Each does to each name whatever comes, for a while; then what is left is deleted, and is all there is.
TEST_F(TwoControllers, LeaveNothingWhateverTheyDoAtOnce) {
  constexpr int kSteps = 60;
  std::atomic<int> done = 0;
  std::vector<std::thread> threads;
  for (int c = 0; c < 4; ++c)
    threads.emplace_back([&, c] {
      IscsiNode& controller = *controllers_[c % 2];
      uint32_t state = 77U + static_cast<uint32_t>(c);
      LunVolume known[kNames];
      for (int step = 0; step < kSteps; ++step) {
        state = state * 1664525 + 1013904223;
        const int i = static_cast<int>(state >> 16) % kNames;
        const int what = static_cast<int>(state >> 24) % 4;
        LunVolume& volume = known[i];
        if (volume.id.empty()) volume = Number(i);
        grpc::Status status;
        if (what == 0 || volume.id.empty()) status = controller.Create(volume);
        if (what == 1 && !volume.id.empty()) status = controller.Attach(volume, controller.id());
        if (what == 2 && !volume.id.empty()) status = controller.Detach(volume, controller.id());
        if (what == 3 && !volume.id.empty()) status = controller.Delete(volume);
        if (status.ok()) ++done;
        EXPECT_THAT(status.error_code(),
                    AnyOf(StatusCode::OK, StatusCode::ABORTED, StatusCode::NOT_FOUND,
                          StatusCode::FAILED_PRECONDITION))
            << Say(status);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_GT(done, kSteps);
  for (int i = 0; i < kNames; ++i) {
    LunVolume volume = Number(i);
    ASSERT_DONE(one_.Create(volume));
    for (const char* node : {"node-a", "node-b"}) ASSERT_DONE(other_.Detach(volume, node));
    ASSERT_DONE(other_.Delete(volume));
  }
  EXPECT_THAT(Targets(target_), ::testing::Not(HasSubstr("Target ")));
  ExpectNothingLeft(target_, one_);
}

// --- a target without room

class FullTarget : public ::testing::Test {
 protected:
  // Bytes of what is written there that are free after it: none.
  void Fill() {
    const int fd = open(Filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const std::string block(1 << 16, 'f');
    while (write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size())) {
    }
    fsync(fd);
    close(fd);
  }
  fs::path Filler() const { return filesystem_.path() / "filler"; }

  base::TempDir directory_;
  iscsi::target::testing::OwnFilesystem filesystem_{directory_.path(), "mkfs.ext4 -q -F -m 0"};
  IscsiTarget target_{IscsiTargetOptions{.store_parent = filesystem_.path()}};
};

TEST_F(FullTarget, APodsWriteFailsAndWhatWasWrittenStaysAndItGoesOnWithRoom) {
  constexpr size_t kChunk = 1 << 20;
  constexpr int kChunks = 64;
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("thin");
  volume.block = true;
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  const int device = open(node.Target(volume).c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(device, 0);
  // errno of a chunk that was written and flushed.
  const auto put = [&](int i) {
    const std::string chunk = Pattern(kChunk, static_cast<unsigned>(i));
    const auto at = static_cast<off_t>(i) * static_cast<off_t>(kChunk);
    errno = 0;
    if (pwrite(device, chunk.data(), chunk.size(), at) != static_cast<ssize_t>(kChunk))
      return errno;
    return fsync(device) == 0 ? 0 : errno;
  };
  for (int i = 0; i < 8; ++i) ASSERT_EQ(put(i), 0);
  Fill();
  std::vector<int> failed;
  for (int i = 8; i < kChunks; ++i)
    if (const int error = put(i); error != 0) {
      failed.push_back(i);
      EXPECT_THAT(error, AnyOf(EIO, ENOSPC));
    }
  EXPECT_GE(failed.size(), size_t{kChunks} - 16)
      << "the full file system took what it had no room for";
  const auto holds = [&](int i) {
    std::string read(kChunk, '\0');
    const int fd = open(node.Target(volume).c_str(), O_RDONLY | O_CLOEXEC);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    const ssize_t got =
        pread(fd, read.data(), kChunk, static_cast<off_t>(i) * static_cast<off_t>(kChunk));
    close(fd);
    return got == static_cast<ssize_t>(kChunk) && read == Pattern(kChunk, static_cast<unsigned>(i));
  };
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(holds(i)) << i;

  LunVolume more = Named("more");
  const auto refused = node.Create(more);
  EXPECT_EQ(refused.error_code(), StatusCode::RESOURCE_EXHAUSTED) << Say(refused);

  fs::remove(Filler());
  for (int i = 8; i < kChunks; ++i) ASSERT_EQ(put(i), 0) << i;
  for (int i = 0; i < kChunks; ++i) EXPECT_TRUE(holds(i)) << i;
  close(device);
  std::printf("%zu of %d chunks were refused while the target was full\n", failed.size(),
              kChunks - 8);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  fs::remove(target_.store() / "lost+found");
  ExpectNothingLeft(target_, node);
}

// --- another LUN under the volume's number

class SwappedLun : public ::testing::Test {
 protected:
  // In the target of the volume; also while it is written to, which tgtd has to be caught not doing.
  void SwapLun(const LunVolume& volume) {
    const std::string shown = Targets(target_);
    const size_t at = shown.find(volume.publish_context.at("iqn"));
    ASSERT_NE(at, std::string::npos) << shown;
    const size_t number = shown.rfind("Target ", at) + 7;
    other_.tid = std::stoi(shown.substr(number));
    other_.lun = std::stoi(volume.publish_context.at("lun"));
    other_.size_bytes = kIscsiVolumeBytes;
    other_.id = "c0ffee00000000ff";
    ASSERT_TRUE(
        Soon([&] { return target_.tgt().DeleteLun(other_.tid, other_.lun).has_value(); }, 20s));
    ASSERT_TRUE(target_.tgt().NewLun(other_));
  }
  bool IsUntouched() {
    return ReadAll(target_.tgt().file(other_)).find_first_not_of('\0') == std::string::npos;
  }
  IscsiTarget target_;
  lab::TgtLun other_;
};

TEST_F(SwappedLun, BetweenPublishAndStageIsRefusedAndNotFormatted) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("mine");
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Attach(volume, "node-a"));
  SwapLun(volume);
  const auto refused = node.Stage(volume);
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION) << Say(refused);
  EXPECT_TRUE(IsUntouched());
  ASSERT_DONE(node.Unstage(volume));
  ASSERT_DONE(node.Detach(volume, "node-a"));
  ASSERT_DONE(node.Up(volume));
  EXPECT_EQ(WriteSynced(node.Target(volume) / "file", "mine"), 0);
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(target_, node);
}

TEST_F(SwappedLun, UnderAVolumeThatIsWrittenToGetsNoneOfItsWrites) {
  IscsiNode node(target_, "node-a");
  LunVolume volume = Named("mine");
  volume.block = true;
  ASSERT_DONE(node.Create(volume));
  ASSERT_DONE(node.Up(volume));
  std::atomic<int> error = 0;
  std::atomic<int> written = 0;
  std::thread writer([&] {
    while (error == 0) {
      error = WriteSynced(node.Target(volume), std::string(4096, 'm'));
      if (error == 0) ++written;
    }
  });
  EXPECT_TRUE(Soon([&] { return written > 5; }, 20s));
  SwapLun(volume);
  writer.join();
  EXPECT_TRUE(IsUntouched());
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Up(volume));
  EXPECT_EQ(ReadDirect(node.Target(volume), 4096), std::string(4096, 'm'));
  ASSERT_DONE(node.Down(volume));
  ASSERT_DONE(node.Delete(volume));
  ExpectNothingLeft(target_, node);
}

}  // namespace
}  // namespace gantry::tests
